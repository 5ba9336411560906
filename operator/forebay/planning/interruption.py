"""Which nodes are about to go away, by the marks that clouds and node managers leave on them.

The table is data: a new mark is a new row. Sources: Karpenter v1 taints; AWS Node Termination Handler (`TAINT_NODE=true`); GKE; AKS;
Cluster Autoscaler. A rebalance recommendation counts too: it comes 10 to 20 minutes before the reclaim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from forebay.planning.snapshot import NodeView, Snapshot


@dataclass(frozen=True, slots=True)
class Signal:
    """A taint or label that says a node is going; `value` None means any value."""

    on: Literal["taint", "label"]
    key: str
    source: str
    value: str | None = None


SIGNALS: tuple[Signal, ...] = (
    Signal("taint", "karpenter.sh/disrupted", "Karpenter"),
    Signal("taint", "karpenter.sh/disruption", "Karpenter before v1"),
    Signal("taint", "aws-node-termination-handler/spot-itn", "AWS spot interruption"),
    Signal("taint", "aws-node-termination-handler/rebalance-recommendation", "AWS rebalance recommendation"),
    Signal("taint", "aws-node-termination-handler/asg-lifecycle-termination", "AWS autoscaling group"),
    Signal("taint", "aws-node-termination-handler/scheduled-maintenance", "AWS maintenance"),
    Signal("taint", "cloud.google.com/impending-node-termination", "GKE"),
    Signal("label", "cloud.google.com/active-node-maintenance", "GKE maintenance", "ONGOING"),
    Signal("taint", "remediator.kubernetes.azure.com/unschedulable", "AKS"),
    Signal("taint", "ToBeDeletedByClusterAutoscaler", "Cluster Autoscaler"),
    Signal("taint", "node.kubernetes.io/out-of-service", "out of service"),
)


_LABELS = frozenset(s.key for s in SIGNALS if s.on == "label")


def interruption(node: NodeView) -> str | None:
    """Why the node's replicas must be replaced now, or None."""
    if node.deleting:
        return "the node is being deleted"
    # Most nodes have no mark at all, and every decision looks at each several times.
    if node.taints or not _LABELS.isdisjoint(node.labels):
        taints = {taint.key: taint.value for taint in node.taints}
        for signal in SIGNALS:
            marks = taints if signal.on == "taint" else node.labels
            if signal.key in marks and signal.value in (None, marks[signal.key]):
                return f"{signal.on} {signal.key} ({signal.source})"
    if not node.ready:
        return "the node is not ready"
    return None


def doomed(snapshot: Snapshot) -> dict[str, str]:
    """Pods that are about to lose their node, or have, with the reason."""
    known = {node.name for node in snapshot.nodes}
    going = {node.name: why for node in snapshot.nodes if (why := interruption(node))}
    result = {}
    for pod in snapshot.pods:
        if pod.node in going:
            result[pod.name] = going[pod.node]
        elif pod.ready and pod.node and pod.node not in known:
            # A pod that is not ready may be on a node that is too new to be known.
            result[pod.name] = "the node is gone"
    return result
