"""The operator itself on a virtual clock: the code that reconciles a pool in a cluster, over a cluster in memory that mirrors the fleet.

Nothing of a decision is imitated: resources are applied, `reconcile_pool` observes, plans, applies and reports, and what the fleet does
is read off the Deployments that come of it. Only pods and nodes are made up, by `mirror`, and demand from the replicas' samples.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.adapters.decisions import BothDecisions, DecisionLog, DecisionsInMemory
from forebay.adapters.held import HeldFor, HeldInMemory
from forebay.adapters.loaded import LoadedInMemory
from forebay.adapters.memory import MemoryCluster
from forebay.adapters.metrics import MetricsInMemory
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.planning.memory import Memory
from forebay.planning.sleep import hold
from forebay.planning.snapshot import ON_DEMAND, SPOT, Settings
from forebay.planning.starts import lead_time_s
from forebay.planning.variants import LABEL_VARIANT, Variant, preferred_profile
from forebay.reconcile.events import Recorder
from forebay.reconcile.keys import Key, pool_key
from forebay.reconcile.pool import reconcile_pool
from forebay.reconcile.view import OURS, ObjectView
from forebay.reconcile.world import World
from forebay.simulation.clock import VirtualClock
from forebay.simulation.course import Course
from forebay.simulation.demand import demand_of
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Observation
from forebay.simulation.mirror import FleetMirror
from forebay.simulation.queues import Hold

_USER = "forebay-simulate"
_GATEWAY = "simulated"


def _gateway(namespace: str) -> Object:
    """The gateway that all requests come by: it has one replica, which answers."""
    meta = {"name": _GATEWAY, "namespace": namespace, "labels": {LABEL_GATEWAY: _GATEWAY}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Running", "podIP": _GATEWAY}}


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
        self.interval_s = interval_s
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
        self._mirror = FleetMirror(self._key, self.cluster, self._view, self._clock, started_in_s)
        self.course = Course()
        """What it saw and decided, round by round."""
        self._hold()
        self._runner.run(self._begin(list(objects)))
        self.spec = InferencePoolSpec.model_validate(self._pool()["spec"])
        self._known = self.classes()

    def close(self) -> None:
        """Ends the event loop."""
        self._runner.close()

    def attach(self, fleet: Fleet) -> None:
        """The replicas that its pods stand for."""
        self._mirror.fleet = fleet

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
        fleet, deployments = self._mirror.fleet, self._mirror.deployments()
        there = {r.variant: 0 for r in fleet.all} if fleet else {}
        return there | {d["metadata"]["labels"][LABEL_VARIANT]: d["spec"].get("replicas", 1) for d in deployments}

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
        fleet = self._mirror.fleet
        held = Counter(request.batch_class for request in fleet.held) if fleet else Counter[str]()
        self._held.answers[_GATEWAY] = {f"{self._key.namespace}/{self._key.name}": HeldFor(dict(held))}

    async def _begin(self, objects: list[Object]) -> None:
        for obj in objects:
            await self.cluster.apply(obj, manager=_USER, force=True)
        for kind in (kinds.BATCH_CLASSES, kinds.INFERENCE_POOLS):
            await self._look(kind)
        await self._round()

    async def _round(self) -> None:
        await self._mirror.show()
        await reconcile_pool(self._world, self._key)
        await self._mirror.obey()
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
