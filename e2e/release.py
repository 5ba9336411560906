"""The operator as people install it: by the chart, as a pod with its own service account and no other right."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane
from e2e.pods import Pods
from e2e.waiting import eventually
from forebay.adapters.blobs import Reader

CHART = Path(__file__).parents[1] / "charts" / "forebay"
NAME, NAMESPACE = "forebay", "forebay-system"
DEPLOYMENT = f"{NAME}-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}"
INTERVAL_S, LEASE_S = 2, 4

# Pods share one network here, each with an address of its own, so an operator listens on that alone.
_ADDRESS = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
_REPOSITORY, _, _TAG = resources.IMAGE.rpartition(":")
VALUES: Object = {
    "image": {"repository": _REPOSITORY, "tag": _TAG},
    "operator": {
        "interval": f"{INTERVAL_S}s",
        "extraArgs": ["--host=$(POD_IP)", f"--lease-seconds={LEASE_S}s"],
        "env": [_ADDRESS],
    },
}


class HelmFailed(RuntimeError):
    """helm ended with an error; the message is what it wrote to stderr."""


class Release:
    """The chart's release: installed, upgraded and uninstalled by the real helm."""

    def __init__(self, plane: ControlPlane, pods: Pods) -> None:
        self._plane, self._pods = plane, pods

    def install(self) -> None:
        """Installs it; the operator is ready when it returns."""
        self._helm("install", "--create-namespace", "--take-ownership", "--wait", "--timeout=90s", chart=True)

    def upgrade(self, **operator: Any) -> None:
        """Upgrades it with other values of the operator; those not given are as at first."""
        values = json.dumps({**VALUES, "operator": {**VALUES["operator"], **operator}})
        self._helm("upgrade", "--wait", "--timeout=90s", chart=True, values=values)

    def uninstall(self) -> None:
        self._helm("uninstall", "--wait", "--timeout=120s")

    def _helm(self, verb: str, *options: str, chart: bool = False, values: str | None = None) -> str:
        what = [NAME, str(CHART), "--values=-"] if chart else [NAME]
        command = [str(self._plane.program("helm")), verb, *what, f"--namespace={NAMESPACE}", *options]
        text = values or json.dumps(VALUES)
        answer = subprocess.run(command, input=text, capture_output=True, text=True, env=self._plane.environment)
        if answer.returncode:
            raise HelmFailed(answer.stderr.strip())
        return answer.stdout

    def scale(self, replicas: int) -> None:
        """So many operators run, and are ready, when it returns; none more than these."""
        self._plane.kubectl("scale", f"deployment/{DEPLOYMENT}", "-n", NAMESPACE, f"--replicas={replicas}")
        eventually(f"{replicas} operators", lambda: len(self.pods()) == replicas == len(self._ready()), 60)

    def rounds(self, count: int) -> None:
        """Lets it plan so many times: what it does not do in that time it does not mean to do."""
        time.sleep(count * INTERVAL_S)

    def pods(self) -> list[Object]:
        """Operators, also those that are on their way out."""
        return self._plane.api.items(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Doperator")

    def _ready(self) -> list[Object]:
        return [p for p in self.pods() if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]

    def holder(self) -> str:
        """Who holds the lease: `host_pid`, or nobody."""
        lease = self._plane.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/forebay-operator") or {}
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    def processes(self) -> list[int]:
        """Process ids of the operators."""
        return [pid for pod in self.pods() for pid in self._processes(pod)]

    def _processes(self, pod: Object) -> list[int]:
        return list(self._pods.processes(NAMESPACE, pod["metadata"]["name"]))

    def leaders(self) -> list[int]:
        """Process ids of the operators that say of themselves that they lead."""
        return [pid for pod in self.pods() if _leads(pod["status"].get("podIP")) for pid in self._processes(pod)]

    def writes(self) -> list[Object]:
        """Audit events of what it wrote or tried to, oldest first."""
        return self._plane.audit(ACCOUNT)

    def refusals(self) -> list[str]:
        """What it was not allowed to do, by its own log. A namespace that is being deleted takes nothing new, whoever asks."""
        return [line for line in self.log().splitlines() if "forbidden" in line.lower() and "being terminated" not in line]

    def log(self) -> str:
        """What all operators of this run have written, decision records included."""
        logs = sorted(self._pods.folder.glob(f"{NAMESPACE}_{DEPLOYMENT}-*/operator.log*"), key=lambda path: path.stat().st_mtime)
        return "".join(path.read_text(errors="replace") for path in logs)

    def decisions(self, namespace: str) -> list[Object]:
        """Decision records about the pools of a namespace, oldest first."""
        reader, found = Reader(), []
        for line in self.log().splitlines():
            if line.startswith('{"blobs":'):
                reader.keep(json.loads(line)["blobs"])
            elif line.startswith('{"time":') and f'"pool":"{namespace}/' in line:
                found.append(json.loads(line))
        # Operators that took turns write into logs of their own: a piece may stand in a later one.
        return sorted((reader.whole(record) for record in found if "snapshot" in record), key=lambda record: str(record["time"]))


def _leads(address: str | None) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:8081/metrics", timeout=2) as answer:
            return b"\nforebay_operator_leader 1.0" in answer.read()
    except OSError:
        return False
