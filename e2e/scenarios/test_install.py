"""The chart, by the real helm: what it grants is enough and no more is asked for, and what it leaves behind is what `keep` says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e import resources
from e2e.controlplane.cluster import ControlPlane
from e2e.forebay import Forebay
from e2e.release import ACCOUNT, NAME, NAMESPACE, Release
from e2e.waiting import eventually

MAY_WRITE = {
    "inferencepools/status",
    "routingpolicies/status",
    "batchclasses/status",
    "deployments",
    "deployments/scale",
    "services",
    "configmaps",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "nodepools",
    "pods",
    "events",
}
"""Resources that a pool on Karpenter's nodes, its gateway and its replicas come to. Nodes only where there is a MIG layout."""


def serve(forebay: Forebay) -> None:
    forebay.apply(
        resources.batch_class("interactive"),
        resources.keys(forebay.namespace),
        resources.pool(forebay.namespace),
        resources.policy(forebay.namespace),
    )
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")


def test_its_own_account_is_enough_and_writes_only_what_is_expected(forebay: Forebay) -> None:
    before, refused = len(forebay.operator.writes()), len(forebay.operator.refusals())
    serve(forebay)
    forebay.patch(scaling={"minReplicas": 2})
    eventually("two replicas", lambda: len(forebay.ready_replicas()) == 2)
    forebay.patch(scaling={"minReplicas": 1})
    eventually("one replica", lambda: len(forebay.replicas()) == 1)
    forebay.kubectl("delete", "inferencepools.forebay.dev/chat")
    eventually("its NodePools are gone", lambda: not forebay.node_pools())
    assert forebay.operator.refusals()[refused:] == []
    writes = forebay.operator.writes()[before:]
    written = {"/".join(filter(None, (w["objectRef"]["resource"], w["objectRef"].get("subresource")))) for w in writes}
    assert {"nodepools", "deployments", "inferencepools/status"} <= written <= MAY_WRITE
    assert {w["objectRef"].get("namespace") for w in writes} <= {forebay.namespace, None}
    assert all(w["userAgent"].startswith("forebay") and w["user"]["username"] == ACCOUNT for w in writes)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("get", "secrets"), ("create", "pods"), ("delete", "nodes"), ("update", "inferencepools"), ("create", "clusterroles"), ("*", "*")],
)
def test_what_the_operator_may_not_do(control_plane: ControlPlane, operator: Release, verb: str, resource: str) -> None:
    review = {"user": ACCOUNT, "resourceAttributes": {"verb": verb, "resource": resource, "group": "*", "namespace": "default"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": review}
    answer = control_plane.api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert answer["status"]["allowed"] is False


@pytest.fixture
def installed_again(operator: Release) -> Iterator[None]:
    yield
    operator.install()


def test_uninstall_leaves_only_what_keep_says(
    control_plane: ControlPlane, operator: Release, installed_again: None, namespace: str
) -> None:
    """On its way out the operator may be refused to give back its lease, for its rights go first."""
    forebay = Forebay(control_plane, operator, namespace)
    serve(forebay)
    assert forebay.node_pools() and forebay.nodes()
    operator.uninstall()
    eventually("its NodePools and nodes are gone", lambda: not forebay.node_pools() and not forebay.nodes())
    eventually("nothing is left", lambda: not left_behind(control_plane), 30)
    assert forebay.pool() and forebay.kubectl("get", "froute", "-o", "name").strip() == "routingpolicy.forebay.dev/support"


def left_behind(control_plane: ControlPlane) -> list[str]:
    """What carries the release's label anywhere, and what is in its namespace that Kubernetes did not put there itself."""
    every = ",".join(control_plane.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    labelled = control_plane.kubectl("get", every, "-A", "-l", f"app.kubernetes.io/instance={NAME}", "-o", "name", "--ignore-not-found")
    spaced = ",".join(control_plane.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split())
    inside = control_plane.kubectl("get", spaced, "-n", NAMESPACE, "-o", "name", "--ignore-not-found").split()
    own = [name for name in inside if not name.startswith("event") and name not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]
    return sorted({*labelled.split(), *own})
