"""Nodes for `forebay up`, from declared slots: a stand-in for a cloud and its autoscaler.

A node comes some time after pods fit nowhere else, and goes when it has been empty for a while. `reclaim` takes one away as a cloud does
that wants its spot capacity back: a taint as notice, then the machine is gone, with whatever still runs on it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass

from forebay.adapters.cluster import NODES, PODS, Cluster, NotFound, Object
from forebay.local.container import now
from forebay.local.control_loop import follow
from forebay.local.fit import place, refusal
from forebay.local.machine import MachineSpec, Slot
from forebay.local.rollout import is_over
from forebay.local.scheduler import oldest_first, pending_pods, used_by_node

SLOT_LABEL = "local.forebay.dev/slot"
CAPACITY_TYPE_LABEL = "karpenter.sh/capacity-type"
ZONE_LABEL = "topology.kubernetes.io/zone"
INTERRUPTED = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
MACHINE_NODE = "machine"
"""The node that is always there, for what needs no accelerator: gateways, mostly."""

_GPU = "nvidia.com/gpu"


@dataclass(slots=True)
class _Coming:
    """A node under way, and when it is there (monotonic seconds)."""

    node: Object
    due: float


class Slots:
    """Makes and removes nodes as pods need them."""

    def __init__(self, cluster: Cluster, machine: MachineSpec | None) -> None:
        self._cluster = cluster
        self._slots = {slot.name: slot for slot in machine.slots} if machine else {}
        self._empty_after_s = machine.empty_after if machine else 0.0
        self._coming: list[_Coming] = []
        self._empty_since: dict[str, float] = {}
        self._held_back: list[tuple[str, float]] = []
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        await self._cluster.create(node_of(Slot(name=MACHINE_NODE), MACHINE_NODE))
        await follow(self._cluster, (PODS, NODES), self._step)

    async def reclaim(self, name: str, notice_s: float) -> None:
        """Takes a node away: notice by taint, the end `notice_s` seconds later. NotFound where there is no such node."""
        node = await self._cluster.get(NODES, None, name)
        if node is None:
            raise NotFound(f"there is no node {name}", 404)
        taints = [*(node["spec"].get("taints") or []), INTERRUPTED]
        await self._cluster.patch(NODES, None, name, {"spec": {"taints": taints}})
        await asyncio.sleep(notice_s)
        slot = node["metadata"]["labels"].get(SLOT_LABEL, "")
        if slot in self._slots:
            self._held_back.append((slot, time.monotonic() + self._slots[slot].return_after))
        await self._cluster.delete(NODES, None, name)

    async def _step(self) -> float | None:
        pods, nodes = await self._cluster.list(PODS), await self._cluster.list(NODES)
        at = time.monotonic()
        self._order(pods, nodes, at)
        await self._deliver(at)
        await self._remove_empty(pods, nodes, at)
        times = [coming.due for coming in self._coming] + [until for _, until in self._held_back]
        times += [since + self._empty_after_s for since in self._empty_since.values()]
        return max(0.0, min(times) - at) if times else None

    def _order(self, pods: list[Object], nodes: list[Object], at: float) -> None:
        """Orders nodes for pods that fit neither on those there are nor on those under way."""
        self._held_back = [(slot, until) for slot, until in self._held_back if until > at]
        waiting = pending_pods(pods)
        known = [*oldest_first(nodes), *(coming.node for coming in self._coming)]
        used = used_by_node(pods)
        while waiting:
            _, refused = place(waiting, known, used)
            waiting = [pod for pod in waiting if pod["metadata"]["uid"] in refused]
            fresh = next((node for pod in waiting if (node := self._node_for(pod, nodes)) is not None), None)
            if fresh is None:
                return
            slot = self._slots[fresh["metadata"]["labels"][SLOT_LABEL]]
            self._coming.append(_Coming(fresh, at + slot.provision_after))
            known, used = [fresh], {}

    def _node_for(self, pod: Object, nodes: list[Object]) -> Object | None:
        """A node of the first slot that has room and fits the pod."""
        taken = Counter(node["metadata"]["labels"].get(SLOT_LABEL) for node in (*nodes, *(coming.node for coming in self._coming)))
        taken += Counter(slot for slot, _ in self._held_back)
        for slot in self._slots.values():
            if taken[slot.name] < slot.count and refusal(pod, node_of(slot, ""), Counter()) is None:
                return node_of(slot, f"{slot.name}-{next(self._numbers)}")
        return None

    async def _deliver(self, at: float) -> None:
        due = [coming for coming in self._coming if coming.due <= at]
        for coming in due:
            await self._cluster.create(coming.node)
            self._coming.remove(coming)

    async def _remove_empty(self, pods: list[Object], nodes: list[Object], at: float) -> None:
        in_use = {pod["spec"].get("nodeName") for pod in pods if not is_over(pod)}
        ours = {node["metadata"]["name"] for node in nodes if node["metadata"]["labels"].get(SLOT_LABEL) in self._slots}
        self._empty_since = {name: self._empty_since.get(name, at) for name in ours - in_use}
        for name, since in list(self._empty_since.items()):
            if at - since >= self._empty_after_s:
                del self._empty_since[name]
                await self._cluster.delete(NODES, None, name)


def node_of(slot: Slot, name: str) -> Object:
    """A node as a slot makes it."""
    labels = {"kubernetes.io/hostname": name, CAPACITY_TYPE_LABEL: str(slot.capacity_type), ZONE_LABEL: slot.zone, SLOT_LABEL: slot.name}
    resources = {"pods": str(slot.pods)} | ({_GPU: str(slot.gpus)} if slot.gpus else {})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**slot.labels, **labels}},
        "spec": {},
        "status": {"capacity": dict(resources), "allocatable": resources, "conditions": [ready]},
    }
