"""A real Prometheus that scrapes Forebay's pods, from the distribution.

It finds pods as a cluster's Prometheus does, through the API, and gives every series the `namespace` and `pod` labels that
prometheus-operator's PodMonitors give.
"""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from types import TracebackType
from typing import Any

import yaml

from e2e.controlplane.cluster import ControlPlane, free_port
from e2e.controlplane.parts import Part

METRICS_PORTS = (9400, 9401)
"""Of the sidecar and of the gateway."""


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
        configuration = folder / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(_configuration(control_plane, scrape_interval_s)))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        files = [f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
        command = [program, *files, f"--web.listen-address={address}", "--log.level=warn"]
        self.part = Part("prometheus", command, control_plane.folder, f"{self.url}/-/ready")

    def __enter__(self) -> Prometheus:
        self.part.start()
        try:
            self.part.wait_ready()
        except BaseException:
            self.part.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.part.stop()

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that an instant query gives."""
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows]


def _configuration(control_plane: ControlPlane, scrape_interval_s: float) -> dict[str, Any]:
    kubeconfig = control_plane.credentials.kubeconfig("prometheus", control_plane.server)
    ports = "|".join(map(str, METRICS_PORTS))
    keep = [
        {"source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_part_of"], "regex": "forebay", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_container_port_number"], "regex": ports, "action": "keep"},
    ]
    rename = [
        {"source_labels": [f"__meta_kubernetes_{name}"], "target_label": label}
        for name, label in (("namespace", "namespace"), ("pod_name", "pod"))
    ]
    job = {
        "job_name": "forebay",
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [*keep, *rename],
    }
    interval = f"{round(scrape_interval_s * 1000)}ms"
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}
