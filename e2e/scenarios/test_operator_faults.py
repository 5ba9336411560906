"""The operator dies, is doubled, or loses what it stands on: requests go on, nothing is done twice, and what was asked for comes about."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e import resources
from e2e.api_proxy import ApiProxy
from e2e.controlplane import credentials
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane, free_port
from e2e.controlplane.parts import Part
from e2e.forebay import Forebay, Load
from e2e.pods import Pods
from e2e.release import DEPLOYMENT, INTERVAL_S, NAMESPACE, Release
from e2e.waiting import eventually

MOST_WRITES = 80
"""More than a roll-out takes."""


def roll_out(forebay: Forebay, replicas: int = 1) -> None:
    scaling = {"minReplicas": replicas, "maxReplicas": 6, "scaleDown": {"stabilization": "5s"}}
    forebay.apply(
        resources.batch_class("interactive"),
        resources.keys(forebay.namespace),
        resources.pool(forebay.namespace, scaling=scaling),
        resources.policy(forebay.namespace),
    )


def rolled_out(forebay: Forebay, replicas: int = 1) -> bool:
    programmed = forebay.condition("routingpolicies", "Programmed", "support").get("status")
    return programmed == "True" and len(forebay.ready_replicas()) == len(forebay.replicas()) == replicas


def inventory(forebay: Forebay) -> Counter[str]:
    """All that the operator, and Kubernetes for it, made of a pool and a policy."""
    paths = {
        "Deployment": "apis/apps/v1/{}/deployments",
        "ReplicaSet": "apis/apps/v1/{}/replicasets",
        "Service": "api/v1/{}/services",
        "ConfigMap": "api/v1/{}/configmaps",
        "ServiceAccount": "api/v1/{}/serviceaccounts",
        "Role": "apis/rbac.authorization.k8s.io/v1/{}/roles",
        "RoleBinding": "apis/rbac.authorization.k8s.io/v1/{}/rolebindings",
    }
    found: Counter[str] = Counter()
    for kind, path in paths.items():
        for obj in forebay.plane.api.items("/" + path.format(f"namespaces/{forebay.namespace}")):
            # The hash in a ReplicaSet's name is that of a template in which the pool's uid stands.
            name = owner(obj) if kind == "ReplicaSet" else obj["metadata"]["name"]
            found[f"{kind} {name} {obj['spec']['replicas']}" if kind in ("Deployment", "ReplicaSet") else f"{kind} {name}"] += 1
    for node_pool in forebay.node_pools().values():
        requirements = node_pool["spec"]["template"]["spec"]["requirements"][0]["values"]
        found[f"NodePool {requirements} {node_pool['spec']['limits']}"] += 1
    return found


def owner(obj: Object) -> str:
    return str(obj["metadata"]["ownerReferences"][0]["name"])


@pytest.fixture
def by_hand(control_plane: ControlPlane, operator: Release) -> Iterator[Part]:
    """An operator as a process, with the rights of the chart's, through a proxy; the chart's own stands aside meanwhile."""
    operator.scale(0)
    with ApiProxy(control_plane) as proxy:
        token = control_plane.token(NAMESPACE, DEPLOYMENT)
        kubeconfig = control_plane.folder / "credentials" / "by-hand.kubeconfig"
        credentials.write_kubeconfig(kubeconfig, proxy.url, control_plane.credentials.ca, token)
        part = ByHand(control_plane, proxy, kubeconfig)
        yield part
        part.stop()
    operator.scale(1)


class ByHand(Part):
    """The operator as a process. Its lease is taken from it when it is dead, which spares waiting for the lease's end."""

    def __init__(self, control_plane: ControlPlane, proxy: ApiProxy, kubeconfig: Path) -> None:
        port = free_port()
        options = ["--image", resources.IMAGE, "--interval", f"{INTERVAL_S}s", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "forebay", "operator", "--kubeconfig", str(kubeconfig), *options]
        super().__init__("operator-by-hand", command, control_plane.folder, f"http://127.0.0.1:{port}/readyz")
        self.proxy, self._plane = proxy, control_plane

    def lives_to(self, writes: int) -> None:
        """Starts it; it is killed when it has made so many writes."""
        self._plane.kubectl("patch", "lease", "forebay-operator", "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"holderIdentity":null}}')
        self.proxy.arm(writes, self._end)
        self.start()

    def _end(self) -> None:
        if pid := self.pid:
            os.kill(pid, signal.SIGKILL)

    @property
    def quiet(self) -> bool:
        """Whether it makes no write for some rounds."""
        before = len(self.proxy.writes)
        time.sleep(3 * INTERVAL_S)
        return before == len(self.proxy.writes)


def test_killed_after_each_of_its_writes_in_turn(control_plane: ControlPlane, forebay: Forebay, by_hand: ByHand) -> None:
    """The first operator lives to one write, the second to two, and so on, until one lives for as long as it takes."""
    roll_out(forebay, replicas=2)
    killed_after = []
    for writes in range(1, MOST_WRITES):
        by_hand.lives_to(writes)
        eventually("the write, or the end", lambda: not by_hand.pid or (rolled_out(forebay, 2) and by_hand.quiet), 60)
        if by_hand.pid:
            break
        killed_after.append(by_hand.proxy.writes[-1])
    print(f"killed {len(killed_after)} times:", *killed_after, sep="\n  ")
    assert by_hand.pid and len(killed_after) >= 10

    undisturbed = Forebay(control_plane, forebay.operator, f"{forebay.namespace}-2")
    control_plane.kubectl("create", "namespace", undisturbed.namespace)
    by_hand.proxy.arm(0, lambda: None)
    roll_out(undisturbed, replicas=2)
    eventually("the undisturbed roll-out", lambda: rolled_out(undisturbed, 2))
    assert inventory(forebay) == inventory(undisturbed)
    control_plane.kubectl("delete", "inferencepools.forebay.dev", "--all", "-n", undisturbed.namespace)
    control_plane.kubectl("delete", "namespace", undisturbed.namespace, "--wait=false")


def test_told_to_stop_it_gives_the_lease_back(by_hand: ByHand, operator: Release) -> None:
    by_hand.start()
    eventually("it leads", lambda: operator.holder().endswith(f"_{by_hand.pid}"), 30)
    by_hand.wait_ready()
    by_hand.stop()
    assert by_hand.exit_code == 0 and operator.holder() == ""


def test_second_operator_takes_over_from_a_killed_leader(forebay: Forebay) -> None:
    operator = forebay.operator
    operator.upgrade(replicas=2)
    try:
        roll_out(forebay)
        forebay.wait("fpool/chat")
        leader = int(operator.holder().rpartition("_")[2])
        (standby,) = set(operator.processes()) - {leader}
        assert operator.leaders() == [leader]
        os.kill(leader, signal.SIGKILL)
        eventually("the other leads", lambda: operator.holder().endswith(f"_{standby}"), 30)
        forebay.patch(scaling={"minReplicas": 2})
        eventually("the new leader acts", lambda: len(forebay.ready_replicas()) == 2)
        eventually("the killed one stands by", lambda: len(operator.processes()) == 2 and operator.leaders() == [standby], 30)
    finally:
        operator.upgrade()


def test_api_server_restarted_while_streams_run(control_plane: ControlPlane, forebay: Forebay) -> None:
    roll_out(forebay)
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")
    with Load(forebay.gateway(), rps=1.5, tokens=100) as load:
        eventually("some have finished", lambda: load.counts["finished"] >= 3)
        control_plane.parts["kube-apiserver"].restart()
        before = load.counts["finished"]
        eventually("more have finished", lambda: load.counts["finished"] >= before + 5)
    assert set(load.counts) == {"finished"}, load.counts
    forebay.patch(scaling={"minReplicas": 2})
    eventually("the operator acts again", lambda: len(forebay.ready_replicas()) == 2, 90)


def test_pool_deleted_while_the_operator_is_down(forebay: Forebay) -> None:
    roll_out(forebay)
    forebay.wait("fpool/chat")
    forebay.operator.scale(0)
    try:
        forebay.kubectl("delete", "inferencepools.forebay.dev/chat")
        assert len(forebay.node_pools()) == 2
    finally:
        forebay.operator.scale(1)
    eventually("its NodePools are gone", lambda: not forebay.node_pools())
    eventually("its nodes are gone", lambda: not forebay.nodes())


def test_pool_deleted_takes_its_node_pools_along(forebay: Forebay) -> None:
    roll_out(forebay)
    forebay.wait("fpool/chat")
    assert len(forebay.node_pools()) == 2 and forebay.nodes()
    forebay.kubectl("delete", "inferencepools.forebay.dev/chat")
    eventually("its NodePools and nodes are gone", lambda: not forebay.node_pools() and not forebay.nodes())
    eventually("its replicas are gone", lambda: not forebay.replicas())


def test_metrics_cut_hold_the_pool(forebay: Forebay, pods: Pods) -> None:
    """Sidecars that do not answer say nothing about demand: nobody is sent home for that, even where fewer would do."""
    roll_out(forebay, replicas=3)
    eventually("three replicas", lambda: len(forebay.ready_replicas()) == 3)
    forebay.says("MetricsFresh", "Fresh")
    with stopped(sidecars(forebay, pods)):
        forebay.says("MetricsFresh", "Stale")
        forebay.patch(scaling={"minReplicas": 1})
        forebay.operator.rounds(6)
        assert len(forebay.replicas()) == 3
        assert any("held" in why for why in forebay.status()["plan"]["why"])
    forebay.says("MetricsFresh", "Fresh")
    eventually("fewer, now that it is known that they are enough", lambda: len(forebay.replicas()) == 1)


def sidecars(forebay: Forebay, pods: Pods) -> list[int]:
    names = [pod["metadata"]["name"] for pod in forebay.replicas()]
    return [pid for name in names for pid, line in pods.processes(forebay.namespace, name).items() if " sidecar " in line]


@contextlib.contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """These processes stand still meanwhile."""
    assert processes
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
