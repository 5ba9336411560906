"""A real Argo CD: its application controller and its repo server beside the control plane, with Redis from the distribution.

The web server is left out: Applications are objects, and kubectl reads and writes them.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane, free_port
from e2e.controlplane.git import GitRepository
from e2e.controlplane.parts import Part

NAMESPACE = "argocd"
_APPLICATIONS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications"


class NoRedis(RuntimeError):
    """redis-server is not installed."""


class ArgoCD:
    """A running Argo CD, as a context manager.

    Args:
        health: Lua health checks by `<group>_<kind>`.

    Attributes:
        parts: redis-server, argocd-repo-server, argocd-application-controller.
    """

    def __init__(self, control_plane: ControlPlane, health: Mapping[str, str]) -> None:
        self._plane, self._health = control_plane, health
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> ArgoCD:
        redis = shutil.which("redis-server")
        if not redis:
            raise NoRedis("redis-server is missing: install it (apt-get install redis-server)")
        self._install()
        folder = self._plane.folder / "argocd"
        (folder / "tmp").mkdir(parents=True)
        try:
            self._start(redis, folder)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for part in reversed(self.parts.values()):
            part.stop()

    def _start(self, redis: str, folder: Path) -> None:
        redis_port, repo_port, repo_health, health = (free_port() for _ in range(4))
        environment = {
            "KUBECONFIG": str(self._plane.kubeconfig),
            "ARGOCD_GPG_ENABLED": "false",
            # The destination https://kubernetes.default.svc stands for the cluster of the kubeconfig.
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "TMPDIR": str(folder / "tmp"),
            # The repo server renders charts with helm.
            "PATH": f"{self._plane.program('helm').parent}{os.pathsep}{os.environ['PATH']}",
        }
        common = ["--namespace", NAMESPACE, "--redis", f"127.0.0.1:{redis_port}", "--loglevel", "warn"]
        listen = ["--disable-tls", "--address", "127.0.0.1", "--port", str(repo_port), "--metrics-address", "127.0.0.1"]
        repo_server = ["argocd-repo-server", *listen, "--metrics-port", str(repo_health), *common[2:]]
        plain = ["--repo-server", f"127.0.0.1:{repo_port}", "--repo-server-plaintext"]
        controller = ["argocd-application-controller", *common, *plain, "--metrics-port", str(health), "--app-resync", "5"]
        memory_only = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        self._add([redis, *memory_only, "--port", str(redis_port)], f"tcp://127.0.0.1:{redis_port}", {})
        self._add(repo_server, f"http://127.0.0.1:{repo_health}/healthz", environment)
        self._add(controller, f"http://127.0.0.1:{health}/healthz", environment)
        for part in self.parts.values():
            part.wait_ready()

    def _add(self, command: list[str], health: str, environment: Mapping[str, str]) -> None:
        name, *arguments = command
        program = name if "/" in name else str(self._plane.program(name))
        part = Part(Path(name).name, [program, *arguments], self._plane.folder, health, environment)
        self.parts[part.name] = part
        part.start()

    def _install(self) -> None:
        self._plane.install_crds(self._plane.tools / "argocd")
        settings = {f"resource.customizations.health.{kind}": lua for kind, lua in self._health.items()}
        others = ("argocd-rbac-cm", "argocd-ssh-known-hosts-cm", "argocd-tls-certs-cm", "argocd-gpg-keys-cm")
        everything = {"namespace": "*", "server": "*"}
        allowed = [{"group": "*", "kind": "*"}]
        self._plane.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            _config_map("argocd-cm", {**settings, "timeout.reconciliation": "5s"}),
            *(_config_map(name, {}) for name in others),
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": _metadata("argocd-secret"),
                "data": {"server.secretkey": base64.b64encode(secrets.token_bytes(32)).decode()},
            },
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AppProject",
                "metadata": {"name": "default", "namespace": NAMESPACE},
                "spec": {"sourceRepos": ["*"], "destinations": [everything], "clusterResourceWhitelist": allowed},
            },
        )

    def application(
        self, name: str, repository: GitRepository, path: str = ".", namespace: str = "default", chart_values: Object | None = None
    ) -> None:
        """Makes an Application that follows a folder of the repository, heals what was changed by hand, and removes what left Git.

        With `chart_values` the folder is a chart. The namespace is made where it is missing.
        """
        helm = {"helm": {"valuesObject": chart_values}} if chart_values is not None else {}
        # Deleting in the foreground would wait for the garbage collector, which learns of a new kind only every 30 seconds.
        finalizer = "resources-finalizer.argocd.argoproj.io/background"
        self._plane.apply(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": [finalizer]},
                "spec": {
                    "project": "default",
                    "source": {"repoURL": repository.url, "path": path, "targetRevision": "main", **helm},
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                    "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "syncOptions": ["CreateNamespace=true"]},
                },
            }
        )

    def refresh(self, name: str) -> None:
        """Looks at the repository now rather than within five seconds."""
        self._plane.api.patch(f"{_APPLICATIONS}/{name}", {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}})

    def state(self, name: str) -> tuple[str, str, str]:
        """Sync status, health, and the revision they speak of; words as Argo CD has them, empty before it has looked."""
        status = (self._plane.api.get(f"{_APPLICATIONS}/{name}") or {}).get("status", {})
        sync = status.get("sync", {})
        return sync.get("status", ""), status.get("health", {}).get("status", ""), sync.get("revision", "")

    def resources(self, name: str) -> dict[str, tuple[str, str]]:
        """Sync status and health of each resource by `kind/name`; health is empty for a kind without a check."""
        status = (self._plane.api.get(f"{_APPLICATIONS}/{name}") or {}).get("status", {})
        rows = status.get("resources") or []
        return {f"{row['kind']}/{row['name']}": (row.get("status", ""), row.get("health", {}).get("status", "")) for row in rows}

    def compared_after(self, name: str, moment: str) -> bool:
        """Whether it has looked again after a moment, which is written as Kubernetes writes it."""
        status = (self._plane.api.get(f"{_APPLICATIONS}/{name}") or {}).get("status", {})
        return str(status.get("reconciledAt", "")) > moment

    def delete(self, name: str) -> None:
        """Deletes the Application and all it made."""
        self._plane.kubectl("delete", "application", name, "-n", NAMESPACE, "--timeout=60s")


def _metadata(name: str) -> dict[str, object]:
    return {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "argocd"}}


def _config_map(name: str, data: Mapping[str, str]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(name), "data": dict(data)}
