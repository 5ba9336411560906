"""A real Prometheus that scrapes Forebay's pods, from the distribution.

Distributions build it without discovery of pods, so a thread keeps a file of targets instead. Every series has the labels that
prometheus-operator gives it by the chart's PodMonitors: `namespace` and `pod`, and the name of the pool or gateway that the pod is of.
"""

from __future__ import annotations

import json
import shutil
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType

import yaml

from e2e.controlplane.client import Object, Refused
from e2e.controlplane.cluster import ControlPlane, free_port
from e2e.controlplane.commands import PROCESS, PROCESS_LABEL
from e2e.controlplane.parts import Part

METRICS_PORTS = (9400, 9401)
"""Of the sidecar and of the gateway."""

_RELABELLED = {"forebay.dev/pool": "forebay_pool", "forebay.dev/variant": "forebay_variant", "forebay.dev/gateway": "forebay_gateway"}
_DISCOVERY_S = 0.5


class NoPrometheus(RuntimeError):
    """prometheus is not installed."""


class Prometheus:
    """A running Prometheus, as a context manager.

    Attributes:
        url: its address.
        part: its process.
    """

    def __init__(self, control_plane: ControlPlane, scrape_interval_s: float = 1.0) -> None:
        program = shutil.which("prometheus")
        if not program:
            raise NoPrometheus("prometheus is missing: install it (apt-get install prometheus)")
        folder = control_plane.folder / "prometheus"
        folder.mkdir()
        self._api, self._targets, self._closed = control_plane.api, folder / "targets.json", threading.Event()
        configuration = folder / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(_configuration(self._targets, scrape_interval_s)))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        files = [f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
        command = [program, *files, f"--web.listen-address={address}", "--log.level=warn"]
        self.part = Part("prometheus", command, control_plane.folder, f"{self.url}/-/ready")
        self._discovery = threading.Thread(target=self._discover, name="prometheus-targets", daemon=True)

    def __enter__(self) -> Prometheus:
        self._write_targets()
        self._discovery.start()
        self.part.start()
        try:
            self.part.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self.part.stop()
        self._discovery.join(10)

    def _discover(self) -> None:
        while not self._closed.wait(_DISCOVERY_S):
            try:
                self._write_targets()
            except (OSError, Refused):
                continue  # the API server is away: the targets stay as they were

    def _write_targets(self) -> None:
        pods = self._api.items(f"/api/v1/pods?labelSelector={PROCESS_LABEL}%3D{PROCESS}")
        text = json.dumps([target for pod in pods for target in _targets_of(pod)])
        if not self._targets.exists() or self._targets.read_text() != text:
            fresh = self._targets.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self._targets)

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that an instant query gives."""
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows]


def _targets_of(pod: Object) -> list[Object]:
    """The pod's metrics ports, while it has an address."""
    metadata, spec = pod["metadata"], pod["spec"]
    address = pod.get("status", {}).get("podIP")
    ports = [port["containerPort"] for one in [*spec.get("initContainers", []), *spec["containers"]] for port in one.get("ports", [])]
    labels = {"namespace": metadata["namespace"], "pod": metadata["name"]}
    labels |= {label: name for key, label in _RELABELLED.items() if (name := (metadata.get("labels") or {}).get(key))}
    return [{"targets": [f"{address}:{port}"], "labels": labels} for port in ports if address and port in METRICS_PORTS]


def _configuration(targets: Path, scrape_interval_s: float) -> Object:
    interval = f"{round(scrape_interval_s * 1000)}ms"
    job = {"job_name": "forebay", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "5s"}]}
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}
