"""A real Argo CD brings the three kinds from Git to Synced and Healthy, and sees no difference while the operator scales."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e import resources
from e2e.controlplane.argocd import ArgoCD
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.git import GitRepository
from e2e.forebay import Forebay, Load
from e2e.release import CHART, NAME, NAMESPACE, VALUES, Release
from e2e.waiting import eventually

RESYNC_S = 5


@pytest.fixture
def application(forebay: Forebay, argocd: ArgoCD, tmp_path: Path) -> Iterator[str]:
    """An Application of class, pool and policy. The tenant's Secret comes from elsewhere, as it should."""
    name = f"{forebay.namespace}-interactive"
    made = (
        resources.batch_class(name),
        resources.pool(forebay.namespace, classes=[name]),
        resources.policy(forebay.namespace, classify={"defaultClass": name}),
    )
    repository = GitRepository(tmp_path / "repository")
    repository.commit({f"{one['kind'].lower()}.yaml": json.dumps(one) for one in made})
    forebay.apply(resources.keys(forebay.namespace))
    argocd.application(forebay.namespace, repository, namespace=forebay.namespace)
    yield forebay.namespace
    argocd.delete(forebay.namespace)
    assert forebay.pool() == {}


def test_stays_synced_while_the_operator_scales(forebay: Forebay, argocd: ArgoCD, application: str) -> None:
    eventually("Synced and Healthy", lambda: argocd.state(application)[:2] == ("Synced", "Healthy"), 120)
    assert {kind.partition("/")[0]: state for kind, state in argocd.resources(application).items()} == {
        "BatchClass": ("Synced", "Healthy"),
        "InferencePool": ("Synced", "Healthy"),
        "RoutingPolicy": ("Synced", "Healthy"),
    }
    generation = forebay.pool()["metadata"]["generation"]
    seen: set[str] = set()

    def replicas() -> int:
        seen.add(argocd.state(application)[0])
        return len(forebay.ready_replicas())

    with Load(forebay.gateway(), rps=6, tokens=100) as load:
        eventually("more replicas", lambda: replicas() > 1, 90)
        eventually("compared meanwhile", lambda: argocd.compared_after(application, forebay.status()["plan"]["decidedAt"]), 8 * RESYNC_S)
    assert set(load.counts) == {"finished"}, load.counts
    eventually("down again", lambda: replicas() == 1, 120)
    decided = forebay.status()["plan"]["decidedAt"]
    eventually("compared at the end", lambda: replicas() and argocd.compared_after(application, decided), 8 * RESYNC_S)
    assert seen == {"Synced"} and argocd.state(application)[:2] == ("Synced", "Healthy")
    assert forebay.pool()["metadata"]["generation"] == generation, "nobody wrote the spec"


@pytest.fixture
def installed_by_argocd(operator: Release, argocd: ArgoCD, control_plane: ControlPlane, tmp_path: Path) -> Iterator[ArgoCD]:
    """The chart in Git instead of a helm release, which comes back at the end."""
    operator.uninstall()
    values = {**VALUES, "uninstall": {"sweepNodePools": False}}
    repository = GitRepository(tmp_path / "chart")
    shutil.copytree(CHART, repository.folder / "charts" / "forebay")
    repository.commit({})
    argocd.application(NAME, repository, path="charts/forebay", namespace=NAMESPACE, chart_values=values)
    yield argocd
    if argocd.state(NAME)[0]:
        argocd.delete(NAME)
    operator.install()


def test_argocd_installs_the_chart_and_takes_it_away(
    control_plane: ControlPlane, operator: Release, installed_by_argocd: ArgoCD, namespace: str
) -> None:
    """As docs/gitops.md has it: Synced and Healthy, pools work; pools go first, and the CRDs stay."""
    argocd, forebay = installed_by_argocd, Forebay(control_plane, operator, namespace)
    eventually("Synced and Healthy", lambda: argocd.state(NAME)[:2] == ("Synced", "Healthy"), 120)
    forebay.apply(resources.batch_class("interactive"), resources.pool(namespace))
    forebay.wait("fpool/chat")
    assert forebay.node_pools()
    assert argocd.state(NAME)[:2] == ("Synced", "Healthy")
    forebay.kubectl("delete", "fpool", "--all")
    eventually("its NodePools are gone", lambda: not forebay.node_pools(), 60)
    argocd.delete(NAME)
    eventually("the operator is gone", lambda: not operator.pods(), 60)
    assert forebay.kubectl("get", "forebay", "-o", "name").split() == ["batchclass.forebay.dev/interactive"]
