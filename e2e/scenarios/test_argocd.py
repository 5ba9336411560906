"""A real Argo CD reads the health of the three kinds as docs/gitops.md promises, and sees no difference where only defaults were added.

The statuses are written here, and by no operator, so that each health is seen alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.controlplane.argocd import ArgoCD
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.git import GitRepository
from e2e.release import Release
from e2e.waiting import eventually

BATCH_CLASS = """
apiVersion: forebay.dev/v1alpha1
kind: BatchClass
metadata: {name: argocd-interactive}
spec:
  tier: Interactive
  objectives: {timeToFirstToken: {target: 500ms}}
"""
POOL = """
apiVersion: forebay.dev/v1alpha1
kind: InferencePool
metadata: {name: llama}
spec:
  mode: Recommend
  model: {name: llama}
  classes: [argocd-interactive]
  server: {template: {spec: {containers: [{name: server, image: example.invalid/server}]}}}
  profiles: [{accelerator: h100, maxConcurrency: 8, iteration: {base: 7.1ms, perToken: 0.05ms}}]
  capacity: {accelerators: [{name: h100, requirements: [{key: gpu, operator: Exists}]}]}
  scaling: {minReplicas: 1}
"""
POLICY = """
apiVersion: forebay.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: support}
spec:
  models: [{name: chat}]
  tenants: [{name: acme, apiKeysFrom: {secretRef: acme-keys}}]
  classify: {defaultClass: argocd-interactive}
  rules: [{name: default, route: [{pool: llama}]}]
"""
FILES: dict[str, str | None] = {"class.yaml": BATCH_CLASS, "pool.yaml": POOL, "policy.yaml": POLICY}


class Synced:
    """Three objects that Argo CD keeps as Git has them."""

    def __init__(self, control_plane: ControlPlane, argocd: ArgoCD, namespace: str, folder: Path) -> None:
        self._plane, self._argocd, self.name = control_plane, argocd, namespace
        self.repository = GitRepository(folder)
        self.revision = self.repository.commit(FILES)
        root = "/apis/forebay.dev/v1alpha1"
        self._paths = {
            "BatchClass/argocd-interactive": f"{root}/batchclasses/argocd-interactive",
            "InferencePool/llama": f"{root}/namespaces/{namespace}/inferencepools/llama",
            "RoutingPolicy/support": f"{root}/namespaces/{namespace}/routingpolicies/support",
        }
        argocd.application(namespace, self.repository, namespace=namespace)

    def commit(self, files: dict[str, str | None]) -> None:
        self.revision = self.repository.commit(files)
        self._argocd.refresh(self.name)

    def get(self, key: str) -> Object | None:
        return self._plane.api.get(self._paths[key])

    def report(self, key: str, generation: int | None = None, **conditions: str) -> None:
        """Writes a status as the operator does."""
        current = (self.get(key) or {})["metadata"]["generation"]
        made = [
            {"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for kind, status in conditions.items()
        ]
        status = {"observedGeneration": current if generation is None else generation, "conditions": made}
        self._plane.api.patch(f"{self._paths[key]}/status", {"status": status})

    def expect(self, health: str, sync: str = "Synced", timeout_s: float = 30) -> None:
        wanted = (sync, health, self.revision)
        eventually(f"{self.name} is {wanted}", lambda: self._argocd.state(self.name) == wanted, timeout_s)

    def expect_resource(self, key: str, health: str) -> None:
        eventually(f"{key} is {health}", lambda: self._argocd.resources(self.name).get(key) == ("Synced", health), 30)


@pytest.fixture
def unattended(operator: Release) -> Iterator[None]:
    """No operator runs, whichever scenario came before."""
    operator.scale(0)
    yield
    operator.scale(1)


@pytest.fixture
def synced(control_plane: ControlPlane, argocd: ArgoCD, unattended: None, namespace: str, tmp_path: Path) -> Iterator[Synced]:
    made = Synced(control_plane, argocd, namespace, tmp_path / "repository")
    yield made
    argocd.delete(made.name)
    assert made.get("BatchClass/argocd-interactive") is None


def test_health_follows_the_conditions(synced: Synced) -> None:
    synced.expect("Progressing")
    synced.report("BatchClass/argocd-interactive", Accepted="True")
    synced.report("InferencePool/llama", Accepted="True", ResolvedRefs="True", Ready="False", Paused="False")
    synced.report("RoutingPolicy/support", Accepted="True", ResolvedRefs="True", Programmed="True")
    synced.expect_resource("BatchClass/argocd-interactive", "Healthy")
    synced.expect_resource("RoutingPolicy/support", "Healthy")
    synced.expect_resource("InferencePool/llama", "Progressing")
    synced.report("InferencePool/llama", Accepted="True", ResolvedRefs="True", Ready="True", Paused="False")
    synced.expect("Healthy")
    synced.report("InferencePool/llama", Accepted="True", ResolvedRefs="True", Ready="True", Paused="True")
    synced.expect("Suspended")
    synced.report("RoutingPolicy/support", Accepted="False", ResolvedRefs="True", Programmed="True")
    synced.expect("Degraded")


def test_change_in_git_is_progressing_until_it_is_looked_at(synced: Synced) -> None:
    synced.expect("Progressing")
    synced.report("BatchClass/argocd-interactive", Accepted="True")
    synced.report("InferencePool/llama", Accepted="True", Ready="True")
    synced.report("RoutingPolicy/support", Accepted="True", Programmed="True")
    synced.expect("Healthy")
    synced.commit({"pool.yaml": POOL.replace("minReplicas: 1", "minReplicas: 2")})
    synced.expect("Progressing")
    assert (synced.get("InferencePool/llama") or {})["spec"]["scaling"]["minReplicas"] == 2
    synced.report("InferencePool/llama", Accepted="True", Ready="True")
    synced.expect("Healthy")
