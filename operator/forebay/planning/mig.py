"""Changing the MIG layout of the pool's own nodes through mig-manager's contract, one node at a time.

A node whose replicas answer is begun only when what is under way on the other nodes answers too: so somebody always serves.

cordon → unroute → drain → label → wait for `success` and for the partitions to be allocatable → uncordon. mig-manager neither cordons
nor drains, and acts only when the label's value changes; it has no "observed" mark, so a layout counts as applied only when the label is
ours, the state says success and the node's allocatable shows the partitions. A node that fails or does not finish in time stays cordoned,
is named in the condition, and is not tried again until the layout changes or somebody mends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forebay.api.canonical import short_hash
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import InferencePoolSpec, PartitioningMode
from forebay.planning.decision import Action, Ref, Verdict
from forebay.planning.memory import Partitioning
from forebay.planning.snapshot import NodeView, PodView, Snapshot

LABEL_CONFIG = "nvidia.com/mig.config"
LABEL_STATE = "nvidia.com/mig.config.state"
ANNOTATION_CORDONED = "forebay.dev/cordoned-for"
CONFIG_MAP = "forebay-mig-config"
RESOURCE_PREFIX = "nvidia.com/mig-"


@dataclass(frozen=True, slots=True)
class Repartition:
    """The next steps, what to remember of them, and the condition."""

    actions: tuple[Action, ...] = ()
    progress: dict[str, Partitioning] = field(default_factory=dict)
    verdict: Verdict | None = None


def config_name(layout: dict[str, int]) -> str:
    """Name of a layout: the same layout has the same name in every pool."""
    return f"forebay-{short_hash(layout)}"


def config_document(layouts: list[dict[str, int]]) -> dict[str, Any]:
    """mig-parted's configuration of all layouts. `all-disabled` is the label's default value and must exist."""
    configs: dict[str, Any] = {"all-disabled": [{"devices": "all", "mig-enabled": False, "mig-devices": {}}]}
    for layout in sorted(layouts, key=config_name):
        configs[config_name(layout)] = [{"devices": "all", "mig-enabled": True, "mig-devices": dict(sorted(layout.items()))}]
    return {"version": "v1", "mig-configs": configs}


def mig_resource(partition: str) -> str:
    """The extended resource that a MIG profile is scheduled by."""
    return RESOURCE_PREFIX + partition.replace("+", ".")


def shows_layout(node: NodeView, layout: dict[str, int]) -> bool:
    """Whether the node's allocatable holds exactly the layout's partitions, on every GPU alike."""
    found = {key: int(value) for key, value in node.allocatable.items() if key.startswith(RESOURCE_PREFIX) and int(value) > 0}
    wanted = {mig_resource(partition): count for partition, count in layout.items()}
    if set(found) != set(wanted):
        return False
    ratios = {found[key] / count for key, count in wanted.items()}
    return len(ratios) == 1 and ratios.pop() >= 1


def applied(node: NodeView, layout: dict[str, int]) -> bool:
    return node.labels.get(LABEL_CONFIG) == config_name(layout) and node.labels.get(LABEL_STATE) == "success" and shows_layout(node, layout)


def _patch(node: NodeView, body: dict[str, Any], reason: str) -> Action:
    return Action(verb="patch", ref=Ref(api_version="v1", kind="Node", name=node.name), body=body, reason=reason)


def _begin(node: NodeView, config: str) -> Action:
    body = {"metadata": {"annotations": {ANNOTATION_CORDONED: config}}, "spec": {"unschedulable": True}}
    return _patch(node, body, f"cordon {node.name} before its layout changes to {config}")


def uncordon(node: NodeView, why: str) -> Action:
    """Gives a node back that was cordoned for a change of layout."""
    body = {"metadata": {"annotations": {ANNOTATION_CORDONED: None}}, "spec": {"unschedulable": None}}
    return _patch(node, body, f"uncordon {node.name}: {why}")


def _ours(node: NodeView) -> bool:
    """Whether it was cordoned for a change of layout, and not by somebody else."""
    return ANNOTATION_CORDONED in node.annotations


def drain(pod: PodView, namespace: str) -> tuple[Action, ...]:
    """Evicts one replica; unrouting comes with every doomed replica."""
    ref = Ref(api_version="v1", kind="Pod", namespace=namespace, name=pod.name)
    return (Action(verb="evict", ref=ref, reason="its GPU is partitioned anew"),)


def _ask(node: NodeView, config: str) -> tuple[Action, ...]:
    """Asks mig-manager, unless it was asked already: it answers only to a change.

    The state is cleared with it: what an earlier layout came to must not be taken for the answer to this one.
    """
    if node.labels.get(LABEL_CONFIG) == config:
        return ()
    body = {"metadata": {"labels": {LABEL_CONFIG: config, LABEL_STATE: None}}}
    return (_patch(node, body, f"ask mig-manager for {config} on {node.name}"),)


def _step(snapshot: Snapshot, node: NodeView, config: str, known: Partitioning | None) -> tuple[tuple[Action, ...], Partitioning]:
    """The next step of the node whose turn it is."""
    progress = known if known and known.config == config else Partitioning(config=config, phase="Draining", since=snapshot.now)
    late = snapshot.now - progress.since > snapshot.settings.partitioning_deadline_s
    state = node.labels.get(LABEL_STATE)
    if node.annotations.get(ANNOTATION_CORDONED) != config or not node.unschedulable:
        return (_begin(node, config),), progress
    if progress.phase == "Draining":
        pods = [p for p in snapshot.pods if p.node == node.name]
        if pods:
            actions = tuple(a for pod in pods if not pod.deleting for a in drain(pod, snapshot.pool.namespace))
            return actions, progress.model_copy(update={"phase": "Stuck"}) if late else progress
        return _ask(node, config), Partitioning(config=config, phase="Applying", since=snapshot.now)
    if state == "failed" and node.labels.get(LABEL_CONFIG) == config:
        return (), progress.model_copy(update={"phase": "Failed"})
    # A look right after the label was written may not show it yet.
    asked = () if snapshot.now - progress.since < snapshot.settings.interval_s else _ask(node, config)
    return asked, progress.model_copy(update={"phase": "Stuck"}) if late else progress


def _verdict(status: str, reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.PARTITIONED, status=status, reason=reason, message=message)


def _halted(node: NodeView, progress: Partitioning) -> Verdict:
    if progress.phase == "Failed":
        message = f"node {node.name}: mig-manager answered failed for {progress.config}. See its log, mend the node or change the layout"
        return _verdict("False", Reason.PARTITIONING_FAILED, message)
    message = f"node {node.name}: {progress.config} is not applied in time: state or allocatable did not follow. It stays cordoned"
    return _verdict("False", Reason.PARTITIONING_STUCK, message)


def _answers_on(snapshot: Snapshot, node: NodeView) -> bool:
    return any(p.ready and not p.deleting and p.node == node.name for p in snapshot.pods)


def _missing(snapshot: Snapshot, own: list[NodeView], node: NodeView) -> str:
    """What has to come on other nodes before this one's replicas can be spared, or nothing. What will never come is not waited for."""
    if not _answers_on(snapshot, node):
        return ""
    layout, others = snapshot.spec.partitioning.layout, [n for n in own if n is not node]
    live = [p for p in snapshot.pods if not p.deleting]
    starting = sorted(p.name for p in live if not p.ready and p.node in {n.name for n in others})
    if starting:
        return f"{', '.join(starting[:3])} elsewhere must answer first"
    homeless = sum(not p.node for p in live)
    finished = [n.name for n in others if applied(n, layout) and (_ours(n) or (not n.unschedulable and _has_room(snapshot, n)))]
    return f"{homeless} replicas have room on {', '.join(finished[:3])} and are not there yet" if homeless and finished else ""


def _has_room(snapshot: Snapshot, node: NodeView) -> bool:
    """Whether one more replica of any profile fits on the node's partitions."""
    taken = sum(p.node == node.name for p in snapshot.pods)
    sizes = {p.partition: p.gpus for p in snapshot.spec.profiles if p.partition in snapshot.spec.partitioning.layout}
    return any(int(node.allocatable.get(mig_resource(name), 0)) >= (taken + 1) * gpus > 0 for name, gpus in sizes.items())


def repartition(snapshot: Snapshot) -> Repartition:
    """The next step towards the layout on all of the pool's own nodes."""
    spec: InferencePoolSpec = snapshot.spec
    own = sorted((n for n in snapshot.nodes if n.own and not n.deleting), key=lambda n: n.name)
    if spec.partitioning.mode != PartitioningMode.STATIC:
        return Repartition(tuple(uncordon(n, "layouts are no longer asked for") for n in own if _ours(n)))
    layout, config = spec.partitioning.layout, config_name(spec.partitioning.layout)
    done = tuple(uncordon(n, "its layout is applied") for n in own if applied(n, layout) and _ours(n))
    waiting = [n for n in own if not applied(n, layout)]
    if not waiting:
        message = (
            f"{len(own)} nodes have {config}"
            if own
            else f"no node is labelled forebay.dev/pool={snapshot.pool.namespace}.{snapshot.pool.name}"
        )
        return Repartition(
            done, {}, _verdict("True" if own else "Unknown", Reason.LAYOUT_APPLIED if own else Reason.NOT_PARTITIONED, message)
        )
    free = [n for n in waiting if _ours(n) or not n.unschedulable]
    if not free:
        message = f"node {waiting[0].name} is cordoned by somebody else: it is partitioned once it is uncordoned"
        return Repartition(done, {}, _verdict("False", Reason.REPARTITIONING, message))
    progress = {k: v for k, v in snapshot.memory.partitioning.items() if v.config == config and k in {n.name for n in free}}
    # A node that is out of service already goes first, so that never two are; then one that nobody would miss.
    node = min(free, key=lambda n: (n.name not in progress, not _ours(n), _answers_on(snapshot, n)))
    if not _ours(node) and (missing := _missing(snapshot, own, node)):
        message = f"node {node.name} waits, for its replicas answer: {missing}"
        return Repartition(done, {}, _verdict("False", Reason.REPARTITIONING, message))
    known = progress.get(node.name)
    if known and known.phase in ("Failed", "Stuck"):
        return Repartition(done, progress, _halted(node, known))
    actions, now = _step(snapshot, node, config, known)
    if now.phase in ("Failed", "Stuck"):
        return Repartition((*done, *actions), {**progress, node.name: now}, _halted(node, now))
    message = f"node {node.name} is {now.phase.lower()} for {config}; {len(waiting) - 1} more to go"
    return Repartition((*done, *actions), {**progress, node.name: now}, _verdict("False", Reason.REPARTITIONING, message))
