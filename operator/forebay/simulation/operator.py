"""The operator itself on a virtual clock: the code that reconciles a pool in a cluster, over a cluster in memory that mirrors the fleet.

Nothing of a decision is imitated: resources are applied, `reconcile_pool` observes, plans, applies and reports, and what the fleet does
is read off the Deployments that come of it. Only pods and nodes are made up from the simulated replicas, and demand from their samples.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import timestamp
from forebay.adapters.cluster import Object
from forebay.adapters.decisions import BothDecisions, DecisionLog, DecisionsInMemory
from forebay.adapters.held import HeldFor, HeldInMemory
from forebay.adapters.loaded import LoadedInMemory
from forebay.adapters.memory import MemoryCluster
from forebay.adapters.metrics import MetricsInMemory
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.planning.interruption import SIGNALS
from forebay.planning.memory import Memory
from forebay.planning.sleep import hold
from forebay.planning.snapshot import ON_DEMAND, SPOT, Settings
from forebay.planning.starts import lead_time_s
from forebay.planning.variants import LABEL_CAPACITY_TYPE, LABEL_POOL, LABEL_ROUTED, LABEL_VARIANT, Variant, preferred_profile, qualified
from forebay.reconcile.events import Recorder
from forebay.reconcile.keys import Key, pool_key
from forebay.reconcile.pool import reconcile_pool
from forebay.reconcile.view import OURS, ObjectView
from forebay.reconcile.world import World
from forebay.simulation.clock import EPOCH_S, VirtualClock
from forebay.simulation.course import Course
from forebay.simulation.demand import demand_of
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Observation
from forebay.simulation.queues import Hold
from forebay.simulation.replica import NODE_S, Replica

_USER = "forebay-simulate"
_GATEWAY = "simulated"


def _gateway(namespace: str) -> Object:
    """The gateway that all requests come by: it has one replica, which answers."""
    meta = {"name": _GATEWAY, "namespace": namespace, "labels": {LABEL_GATEWAY: _GATEWAY}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Running", "podIP": _GATEWAY}}


def _true(condition: str, at: str) -> Object:
    return {"type": condition, "status": "True", "lastTransitionTime": at}


class SimulatedOperator:
    """A law of scaling: what the operator does for one pool of these resources. To be closed after use.

    Its decision records go to `decisions` too, where that is given.
    """

    def __init__(
        self,
        objects: Iterable[Object],
        namespace: str,
        pool: str,
        interval_s: float = 15.0,
        started_in_s: float = 110.0,
        decisions: DecisionLog | None = None,
    ) -> None:
        self.interval_s, self._started_in_s = interval_s, started_in_s
        self._key: Key = pool_key(namespace, pool)
        self._clock, self._view, self._metrics = VirtualClock(), ObjectView(), MetricsInMemory()
        self._held = HeldInMemory()
        self._view.put(kinds.PODS, _gateway(namespace))
        self.cluster = MemoryCluster(self._clock)
        self.decisions = DecisionsInMemory()
        self._world = World(
            cluster=self.cluster,
            view=self._view,
            metrics=self._metrics,
            loaded=LoadedInMemory(),
            held=self._held,
            routes={(namespace, _GATEWAY): frozenset((f"{namespace}/{pool}",))},
            clock=self._clock,
            decisions=BothDecisions(self.decisions, decisions) if decisions else self.decisions,
            recorder=Recorder(self.cluster, self._clock, _USER),
            settings=Settings(sidecar_image="forebay", interval_s=interval_s, stale_after_s=3 * interval_s),
            backend_installed=True,
        )
        self._runner = asyncio.Runner()
        self._fleet: Fleet | None = None
        self._pods: dict[int, str] = {}
        self._ready: set[int] = set()
        self._placed: set[int] = set()
        self._interrupted: set[int] = set()
        self.course = Course()
        """What it saw and decided, round by round."""
        self._runner.run(self._begin(list(objects)))
        self.spec = InferencePoolSpec.model_validate(self._pool()["spec"])
        self._known = self.classes()

    def close(self) -> None:
        """Ends the event loop."""
        self._runner.close()

    def attach(self, fleet: Fleet) -> None:
        """The replicas that its pods stand for."""
        self._fleet = fleet

    def variants(self) -> dict[str, Variant]:
        """Every variant that the pool can have, by name."""
        chosen = preferred_profile(self.spec)
        every = [Variant(capacity_type, *choice) for choice in chosen for capacity_type in (ON_DEMAND, SPOT)]
        return {variant.name: variant for variant in every}

    def classes(self) -> dict[str, BatchClassSpec]:
        """The classes that the pool serves and that there are."""
        known = {o["metadata"]["name"]: o["spec"] for o in self._view.all(kinds.BATCH_CLASSES)}
        return {name: BatchClassSpec.model_validate(known[name]) for name in self.spec.classes if name in known}

    def hold(self, batch_class: str) -> Hold:
        """What the gateway holds of a class while the pool sleeps, by the start time that is known now."""
        record = self._world.pools.get((self._key.namespace, self._key.name))
        spec = self._known.get(batch_class)
        if spec is None:
            return Hold()
        wait = hold(lead_time_s(record.memory if record else Memory()), {batch_class: spec})["classes"][batch_class]
        return Hold(wait["maxRequests"], wait["maxWaitSeconds"])

    def status(self) -> dict[str, Any]:
        """The pool's status as it stands."""
        return dict(self._pool().get("status") or {})

    def counts(self) -> dict[str, int]:
        """Replicas by variant, as the Deployments ask for them; none of a variant that has no Deployment any more."""
        there = {r.variant: 0 for r in self._fleet.all} if self._fleet else {}
        return there | {d["metadata"]["labels"][LABEL_VARIANT]: d["spec"].get("replicas", 1) for d in self._deployments()}

    def decide(self, seen: Observation) -> Mapping[str, int]:
        """One round of the operator at this time."""
        self._clock.elapsed = seen.now
        demand = demand_of(seen, self._clock.now(), 3 * self.interval_s)
        if demand is not None:
            self._metrics.answers[self._key.namespace, self._key.name] = demand
        self._hold()
        self._runner.run(self._round())
        self.course.note(seen.now, self.status(), self.decisions.records)
        return self.counts()

    def _hold(self) -> None:
        """What the gateway holds while no replica is there."""
        held = Counter(request.batch_class for request in self._fleet.held) if self._fleet else Counter[str]()
        self._held.answers[_GATEWAY] = {f"{self._key.namespace}/{self._key.name}": HeldFor(dict(held))}

    async def _begin(self, objects: list[Object]) -> None:
        for obj in objects:
            await self.cluster.apply(obj, manager=_USER, force=True)
        for kind in (kinds.BATCH_CLASSES, kinds.INFERENCE_POOLS):
            await self._look(kind)
        await self._round()

    async def _round(self) -> None:
        await self._mirror()
        await reconcile_pool(self._world, self._key)
        await self._obey()
        for kind in (kinds.INFERENCE_POOLS, kinds.DEPLOYMENTS, kinds.NODE_POOLS):
            await self._look(kind)

    async def _look(self, kind: kinds.Kind) -> None:
        """What a watch would have told of by now."""
        labels = OURS if kind in (kinds.DEPLOYMENTS, kinds.PODS) else None
        there = await self.cluster.list(kind, labels=labels)
        names = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in there}
        for obj in self._view.all(kind):
            if (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) not in names:
                self._view.remove(kind, obj)
        for obj in there:
            self._view.put(kind, obj)

    def _pool(self) -> Object:
        found = self._view.get(kinds.INFERENCE_POOLS, self._key.namespace, self._key.name)
        assert found is not None
        return found

    def _deployments(self) -> list[Object]:
        return self._view.of_pool(kinds.DEPLOYMENTS, self._key.namespace, self._key.name)

    async def _mirror(self) -> None:
        """Pods, nodes and the Deployments' status as the fleet has them."""
        replicas = self._replicas()
        for number in [n for n in self._pods if n not in replicas]:
            await self._remove(number)
        serving = {r.number for r in (*self._fleet.serving, *self._fleet.unrouted)} if self._fleet else set()
        for number, replica in replicas.items():
            if number not in self._pods:
                await self._add(replica)
            if number not in self._placed and self._clock.elapsed >= self._node_at(replica):
                await self._place(replica)
            if number in self._placed and replica.goes_at < inf and number not in self._interrupted:
                self._interrupt(number)
            if number in serving and number not in self._ready:
                await self._make_ready(replica)
        for deployment in self._deployments():
            await self._count(deployment, replicas, serving)

    def _replicas(self) -> dict[int, Replica]:
        return {r.number: r for r in self._fleet.all if not r.draining} if self._fleet else {}

    async def _obey(self) -> None:
        """What was done to pods themselves: those that were deleted go, and requests go to those that are in the Service."""
        if self._fleet is None:
            return
        there = {pod["metadata"]["name"]: pod for pod in await self.cluster.list(kinds.PODS, labels=OURS)}
        for number, replica in self._replicas().items():
            pod = there.get(self._pods.get(number, ""))
            if number in self._pods and (pod is None or "deletionTimestamp" in pod["metadata"]):
                self._fleet.give_up(replica, self._clock.elapsed)
            elif pod is not None:
                self._follow_labels(number, pod)
                (self._fleet.reroute if LABEL_ROUTED in pod["metadata"]["labels"] else self._fleet.unroute)(replica)

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
        deployment = next(d for d in self._deployments() if d["metadata"]["labels"][LABEL_VARIANT] == replica.variant)
        template = deployment["spec"]["template"]
        name = f"{deployment['metadata']['name']}-{replica.number}"
        meta = {"name": name, "namespace": self._key.namespace, "labels": template["metadata"]["labels"]}
        made = await self.cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
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
        node = await self.cluster.create(self._node(f"node-{number}", pod["metadata"]["labels"].get(LABEL_CAPACITY_TYPE, "")))
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
        await self.cluster.delete(kinds.PODS, self._key.namespace, name, grace_s=0)
        self._view.remove(kinds.PODS, {"metadata": {"namespace": self._key.namespace, "name": name}})
        self._ready.discard(number)
        self._interrupted.discard(number)
        if number in self._placed:
            self._placed.discard(number)
            await self.cluster.delete(kinds.NODES, None, f"node-{number}")
            self._view.remove(kinds.NODES, {"metadata": {"name": f"node-{number}"}})

    async def _count(self, deployment: Object, replicas: Mapping[int, Replica], serving: set[int]) -> None:
        meta = deployment["metadata"]
        mine = [n for n, r in replicas.items() if r.variant == meta["labels"][LABEL_VARIANT]]
        status = {"replicas": len(mine), "updatedReplicas": len(mine), "readyReplicas": len(serving.intersection(mine))}
        if deployment.get("status", {}) == status:
            return
        where = {"name": meta["name"], "namespace": meta["namespace"]}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "status": status}
        self._view.put(kinds.DEPLOYMENTS, await self.cluster.apply(body, manager="controller", subresource="status", force=True))
