"""A real Kubernetes control plane as local processes: etcd, API server, controller manager, scheduler, KWOK nodes and Karpenter.

Nothing is mocked but the nodes. KWOK keeps them alive and pretends to run every pod except Forebay's own, which are left to the kubelet
stand-in. All of it lives in one network namespace (`netns.py`), so addresses and ports are its own.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from e2e.controlplane import commands, credentials, netns
from e2e.controlplane.client import Client, Object
from e2e.controlplane.instances import Outage, catalogue
from e2e.controlplane.parts import Part
from e2e.waiting import eventually

FAKE_NODE = {"kwok.x-k8s.io/node": "fake"}
"""Annotation of nodes that KWOK keeps alive."""

SYSTEM_NODE = "system"
"""The node for what needs no GPU: the operator, gateways."""

NODE_CLASS = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
"""The nodeClassRef of NodePools."""


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message is what it wrote to stderr."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ControlPlane:
    """The running control plane, as a context manager.

    Args:
        tools: the folder that `build.ensure` gave.

    Attributes:
        folder: everything it writes; `logs/` has one file per part. Removed at the end unless `keep` is set or something failed.
        kubeconfig: the administrator's.
        api: the administrator's client.
        parts: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok, karpenter: each can be stopped, killed, restarted.
    """

    def __init__(self, tools: Path) -> None:
        netns.require_inside()
        self.tools, self.keep = tools, False
        self.folder = Path(tempfile.mkdtemp(prefix="forebay-e2e-"))
        (self.folder / "logs").mkdir()
        self.credentials = credentials.make(self.folder / "credentials", [netns.HOST_IP, "127.0.0.1", commands.FIRST_SERVICE_IP])
        self.server = commands.SERVER
        self.kubeconfig = self.credentials.kubeconfig("admin", self.server)
        self.api = Client(self.server, self.credentials.ca, self.credentials.tokens["admin"])
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> ControlPlane:
        atexit.register(self.close)
        try:
            self._start()
        except BaseException:
            self.keep = True
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.keep = self.keep or problem is not None
        self.close()

    def close(self) -> None:
        """Ends every part, in reverse order, and removes the folder unless it is to be kept."""
        atexit.unregister(self.close)
        for part in reversed(self.parts.values()):
            part.stop()
        if self.keep:
            print(f"\nlogs of the control plane: {self.folder / 'logs'}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._add(commands.etcd(client, peer), f"{client}/health")
        self._add(commands.api_server(client, self.credentials, self.folder), f"{self.server}/readyz").wait_ready()
        port = free_port()
        self._add(commands.controller_manager(self.credentials, port), f"https://127.0.0.1:{port}/healthz")
        port = free_port()
        self._add(commands.scheduler(self.credentials, port), f"https://127.0.0.1:{port}/healthz")
        port = free_port()
        self._add(commands.kwok(self.credentials, port, self.tools / "kwok", self.folder), f"http://127.0.0.1:{port}/healthz")
        self.install_crds(self.tools / "karpenter")
        port = free_port()
        self._write_instance_types(())
        environment = commands.karpenter(self.credentials, port, free_port(), self._instance_types)
        self._add(["karpenter"], f"http://127.0.0.1:{port}/healthz", environment)
        for part in self.parts.values():
            part.wait_ready()
        self.add_node(SYSTEM_NODE, {}, {})
        self.apply({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": NODE_CLASS["name"]}})

    def _add(self, command: list[str], health: str, environment: Mapping[str, str] | None = None) -> Part:
        name, *arguments = command
        part = Part(name, [str(self.program(name)), *arguments], self.folder, health, environment)
        self.parts[name] = part
        part.start()
        return part

    def program(self, name: str) -> Path:
        """An executable of the tools: helm, kubectl, argocd-repo-server and the parts' own."""
        return self.tools / "bin" / name

    @property
    def environment(self) -> dict[str, str]:
        """For programs that act as the administrator: kubectl, helm.

        What they cache of the API's schema is kept apart from that of other clusters, which had the same address.
        """
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "cache")}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, as the administrator.

        Raises:
            KubectlFailed: a refusal, or wrong usage.
        """
        command = [str(self.program("kubectl")), *arguments]
        answer = subprocess.run(command, input=stdin, capture_output=True, text=True, env=self.environment)
        if answer.returncode:
            raise KubectlFailed(answer.stderr.strip())
        return answer.stdout

    def apply(self, *objects: Object) -> str:
        """`kubectl apply` of these objects."""
        return self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def install_crds(self, folder: Path) -> None:
        """Applies the CRDs of a folder; they are served when it returns."""
        # kubectl does not follow a link to a folder, and its `wait` fails on a CRD that has no conditions yet.
        names = self.kubectl("apply", "--server-side", "--output=name", "-f", str(folder.resolve())).split()
        for name in names:
            eventually(f"{name} is served", lambda name=name: self._is_established(name.rpartition("/")[2]), 30)  # type: ignore[misc]

    def _is_established(self, crd: str) -> bool:
        found = self.api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}") or {}
        conditions = found.get("status", {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def add_node(self, name: str, labels: Mapping[str, str], resources: Mapping[str, str]) -> None:
        """A node that Karpenter did not make. `resources` on top of 64 CPUs, 512Gi and 110 pods."""
        everything = {"cpu": "64", "memory": "512Gi", "pods": "110", **resources}
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}, "annotations": FAKE_NODE}
        status = {"capacity": everything, "allocatable": everything}
        self.api.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})

    def outage(self, *outages: Outage) -> None:
        """From now on Karpenter cannot have these offerings, and all others; none given ends every outage. Restarts Karpenter."""
        self._write_instance_types(outages)
        self.parts["karpenter"].restart()

    @property
    def _instance_types(self) -> Path:
        return self.folder / "instance-types.json"

    def _write_instance_types(self, outages: tuple[Outage, ...]) -> None:
        self._instance_types.write_text(json.dumps(catalogue(outages)))

    def token(self, namespace: str, service_account: str, seconds: int = 3600) -> str:
        """A token of a ServiceAccount, with what its roles allow."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
        return str(self.api.request("POST", path, request)["status"]["token"])

    def audit(self, user: str | None = None) -> list[Object]:
        """Writes that the API server answered so far, oldest first (audit.k8s.io/v1 Events): of all users, or of one by name."""
        # The server may be in the middle of its last line.
        lines = (self.folder / "audit.log").read_text().rpartition("\n")[0].splitlines()
        return [event for event in map(json.loads, lines) if user is None or event["user"]["username"] == user]
