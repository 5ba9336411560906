"""A pool's nodes that do what plans say, and a mig-manager beside them that answers as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.planning.builders import NOW, a_node, a_pod, a_profile, a_snapshot, a_spec

from forebay.planning.decision import Action, Plan
from forebay.planning.memory import Memory
from forebay.planning.mig import LABEL_CONFIG, LABEL_STATE
from forebay.planning.planner import plan
from forebay.planning.snapshot import NodeView, PodView, Snapshot

HALVES, SEVENTHS = {"3g.40gb": 2}, {"1g.10gb": 7}


def succeeds(node: NodeView) -> dict[str, Any]:
    """mig-manager at its best: the state, and devices that follow."""
    return {"state": "success", "devices": True}


@dataclass
class World:
    """Nodes and pods that do what plans say, and a mig-manager that answers to the label."""

    nodes: dict[str, NodeView] = field(default_factory=dict)
    pods: list[PodView] = field(default_factory=list)
    layout: dict[str, int] = field(default_factory=lambda: HALVES)
    answer: Callable[[NodeView], dict[str, Any]] = succeeds
    now: float = NOW
    memory: Memory = field(default_factory=Memory)
    log: list[str] = field(default_factory=list)
    _asked: dict[str, str] = field(default_factory=dict)

    def snapshot(self, **fields: Any) -> Snapshot:
        spec = a_spec(profiles=[a_profile(partition=next(iter(self.layout)))], partitioning={"mode": "Static", "layout": self.layout})
        return a_snapshot(
            **{
                "spec": spec,
                "now": self.now,
                "nodes": tuple(self.nodes[name] for name in sorted(self.nodes)),
                "pods": tuple(self.pods),
                "memory": self.memory,
                "demand": None,
                **fields,
            }
        )

    def round(self, **fields: Any) -> Plan:
        """Plans, does what was planned for nodes and replicas, lets mig-manager work, and 15 seconds pass."""
        decision = plan(self.snapshot(**fields))
        self.memory = decision.memory
        for action in decision.actions:
            self._do(action)
        for name, node in list(self.nodes.items()):
            self._mig_manager(name, node)
        self.now += 15
        return decision

    def _do(self, action: Action) -> None:
        name, body = action.ref.name, action.body
        if action.verb == "evict":
            self.pods = [p for p in self.pods if p.name != name]
            self.log.append(f"evict {name}")
        elif action.verb == "patch" and action.ref.kind == "Pod":
            routed = body["metadata"]["labels"]["forebay.dev/routed"] == "true"
            self.pods = [p.model_copy(update={"routed": routed}) if p.name == name else p for p in self.pods]
            self.log.append(f"{'route' if routed else 'unroute'} {name}")
        elif action.verb == "patch" and action.ref.kind == "Node":
            self._patch(name, body)

    def _patch(self, name: str, body: dict[str, Any]) -> None:
        node = self.nodes[name]
        update: dict[str, Any] = {}
        for part in ("labels", "annotations"):
            merged = {**getattr(node, part), **body.get("metadata", {}).get(part, {})}
            update[part] = {key: value for key, value in merged.items() if value is not None}
        if "unschedulable" in body.get("spec", {}):
            update["unschedulable"] = bool(body["spec"]["unschedulable"])
            self.log.append(f"{'cordon' if update['unschedulable'] else 'uncordon'} {name}")
        if LABEL_CONFIG in body.get("metadata", {}).get("labels", {}):
            self.log.append(f"label {name}")
        self.nodes[name] = node.model_copy(update=update)

    def _mig_manager(self, name: str, node: NodeView) -> None:
        asked = node.labels.get(LABEL_CONFIG)
        if asked is None or self._asked.get(name) == asked:
            return
        self._asked[name] = asked
        answer = self.answer(node)
        if answer.get("state"):
            self.nodes[name] = node.model_copy(update={"labels": {**node.labels, LABEL_STATE: answer["state"]}})
        if answer.get("devices"):
            self.show(name)

    def show(self, name: str) -> None:
        """The node's allocatable follows."""
        devices = {f"nvidia.com/mig-{p.replace('+', '.')}": str(2 * count) for p, count in self.layout.items()}
        self.nodes[name] = self.nodes[name].model_copy(update={"allocatable": {"nvidia.com/gpu": "0", **devices}})


def own(name: str = "n1", **fields: Any) -> NodeView:
    return a_node(name, own=True, **fields)


def world(*names: str, pods: int = 0, **fields: Any) -> World:
    replicas = [a_pod(f"{name}-p{i}", node=name) for name in names for i in range(pods)]
    return World(nodes={name: own(name) for name in names}, pods=replicas, **fields)
