"""The pods and nodes of a cluster in memory as a simulated fleet has them, and what was done to them carried over to the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import timestamp
from forebay.adapters.cluster import Object
from forebay.adapters.memory import MemoryCluster
from forebay.planning.interruption import SIGNALS
from forebay.planning.variants import LABEL_CAPACITY_TYPE, LABEL_POOL, LABEL_ROUTED, LABEL_VARIANT, qualified
from forebay.reconcile.keys import Key
from forebay.reconcile.view import OURS, ObjectView
from forebay.simulation.clock import EPOCH_S, VirtualClock
from forebay.simulation.fleet import Fleet
from forebay.simulation.replica import NODE_S, Replica


def _true(condition: str, at: str) -> Object:
    return {"type": condition, "status": "True", "lastTransitionTime": at}


class FleetMirror:
    """One pool's replicas as pods on nodes, in the cluster and in the operator's view of it; those of the beginning took `started_in_s`.

    Attributes:
        fleet: the replicas that pods stand for, once there are some.
    """

    def __init__(self, pool: Key, cluster: MemoryCluster, view: ObjectView, clock: VirtualClock, started_in_s: float) -> None:
        self.fleet: Fleet | None = None
        self._key, self._cluster, self._view, self._clock, self._started_in_s = pool, cluster, view, clock, started_in_s
        self._pods: dict[int, str] = {}
        self._ready: set[int] = set()
        self._placed: set[int] = set()
        self._interrupted: set[int] = set()

    def deployments(self) -> list[Object]:
        """The pool's Deployments, as far as they were seen."""
        return self._view.of_pool(kinds.DEPLOYMENTS, self._key.namespace, self._key.name)

    async def show(self) -> None:
        """Pods, nodes and the Deployments' status as the fleet has them."""
        replicas = self._replicas()
        for number in [n for n in self._pods if n not in replicas]:
            await self._remove(number)
        serving = {r.number for r in (*self.fleet.serving, *self.fleet.unrouted)} if self.fleet else set()
        for number, replica in replicas.items():
            if number not in self._pods:
                await self._add(replica)
            if number not in self._placed and self._clock.elapsed >= self._node_at(replica):
                await self._place(replica)
            if number in self._placed and replica.goes_at < inf and number not in self._interrupted:
                self._interrupt(number)
            if number in serving and number not in self._ready:
                await self._make_ready(replica)
        for deployment in self.deployments():
            await self._count(deployment, replicas, serving)

    def _replicas(self) -> dict[int, Replica]:
        return {r.number: r for r in self.fleet.all if not r.draining} if self.fleet else {}

    async def obey(self) -> None:
        """What was done to pods themselves: those that were deleted go, and requests go to those that are in the Service."""
        if self.fleet is None:
            return
        there = {pod["metadata"]["name"]: pod for pod in await self._cluster.list(kinds.PODS, labels=OURS)}
        for number, replica in self._replicas().items():
            pod = there.get(self._pods.get(number, ""))
            if number in self._pods and (pod is None or "deletionTimestamp" in pod["metadata"]):
                self.fleet.give_up(replica, self._clock.elapsed)
            elif pod is not None:
                self._follow_labels(number, pod)
                (self.fleet.reroute if LABEL_ROUTED in pod["metadata"]["labels"] else self.fleet.unroute)(replica)

    def _follow_labels(self, number: int, pod: Object) -> None:
        seen, labels = self._pod(number), pod["metadata"]["labels"]
        if seen["metadata"]["labels"] != labels:
            self._view.put(kinds.PODS, {**seen, "metadata": {**seen["metadata"], "labels": labels}})

    def _interrupt(self, number: int) -> None:
        """Its node carries the mark of an interruption, as Karpenter leaves it."""
        node = self._view.get(kinds.NODES, None, f"node-{number}")
        assert node is not None
        self._view.put(kinds.NODES, {**node, "spec": {"taints": [{"key": SIGNALS[0].key, "effect": "NoSchedule"}]}})
        self._interrupted.add(number)

    async def _add(self, replica: Replica) -> None:
        deployment = next(d for d in self.deployments() if d["metadata"]["labels"][LABEL_VARIANT] == replica.variant)
        template = deployment["spec"]["template"]
        name = f"{deployment['metadata']['name']}-{replica.number}"
        meta = {"name": name, "namespace": self._key.namespace, "labels": template["metadata"]["labels"]}
        made = await self._cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
        made["metadata"]["creationTimestamp"] = timestamp(int(EPOCH_S + self._asked_at(replica)))
        self._view.put(kinds.PODS, made)
        self._pods[replica.number] = name

    def _pod(self, number: int) -> Object:
        found = self._view.get(kinds.PODS, self._key.namespace, self._pods[number])
        assert found is not None
        return found

    def _asked_at(self, replica: Replica) -> float:
        """When it was asked for, which is a round ago; those of the beginning started before it."""
        return replica.created_at - (self._started_in_s if replica.ready_at == replica.created_at else 0.0)

    def _node_at(self, replica: Replica) -> float:
        """When it gets its node; those of the beginning had theirs before it."""
        if replica.ready_at > replica.created_at:
            return replica.node_at
        return self._asked_at(replica) + min(NODE_S, 0.5 * self._started_in_s)

    async def _place(self, replica: Replica) -> None:
        """Its node has come, and the server's process loads what it needs."""
        number = replica.number
        pod = self._pod(number)
        node = await self._cluster.create(self._node(f"node-{number}", pod["metadata"]["labels"].get(LABEL_CAPACITY_TYPE, "")))
        self._view.put(kinds.NODES, node)
        at = timestamp(int(EPOCH_S + self._node_at(replica)))
        server = {"name": pod["spec"]["containers"][0]["name"], "restartCount": 0, "state": {"running": {"startedAt": at}}}
        status = {"conditions": [_true("PodScheduled", at)], "containerStatuses": [server]}
        self._view.put(kinds.PODS, {**pod, "spec": {**pod["spec"], "nodeName": f"node-{number}"}, "status": status})
        self._placed.add(number)

    async def _make_ready(self, replica: Replica) -> None:
        at = timestamp(int(EPOCH_S + replica.ready_at))
        pod = self._pod(replica.number)
        status = {**pod["status"], "phase": "Running", "conditions": [*pod["status"]["conditions"], _true("Ready", at)]}
        self._view.put(kinds.PODS, {**pod, "status": status})
        self._ready.add(replica.number)

    def _node(self, name: str, capacity_type: str) -> Object:
        labels = {LABEL_POOL: qualified(self._key.namespace, self._key.name), LABEL_CAPACITY_TYPE: capacity_type}
        ready = {"type": "Ready", "status": "True"}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"conditions": [ready]}}

    async def _remove(self, number: int) -> None:
        name = self._pods.pop(number)
        await self._cluster.delete(kinds.PODS, self._key.namespace, name, grace_s=0)
        self._view.remove(kinds.PODS, {"metadata": {"namespace": self._key.namespace, "name": name}})
        self._ready.discard(number)
        self._interrupted.discard(number)
        if number in self._placed:
            self._placed.discard(number)
            await self._cluster.delete(kinds.NODES, None, f"node-{number}")
            self._view.remove(kinds.NODES, {"metadata": {"name": f"node-{number}"}})

    async def _count(self, deployment: Object, replicas: Mapping[int, Replica], serving: set[int]) -> None:
        meta = deployment["metadata"]
        mine = [n for n, r in replicas.items() if r.variant == meta["labels"][LABEL_VARIANT]]
        status = {"replicas": len(mine), "updatedReplicas": len(mine), "readyReplicas": len(serving.intersection(mine))}
        if deployment.get("status", {}) == status:
            return
        where = {"name": meta["name"], "namespace": meta["namespace"]}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "status": status}
        self._view.put(kinds.DEPLOYMENTS, await self._cluster.apply(body, manager="controller", subresource="status", force=True))
