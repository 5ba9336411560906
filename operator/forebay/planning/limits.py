"""What replicas take, in GPUs and dollars per hour, and whether that is within the pool's limits.

Karpenter's nodes are counted whole, for they are paid whole; of existing nodes only the GPUs that replicas take. Without a profile a
replica counts as a node. What cannot be counted, such as nodes without a price, is never within a limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from forebay.api.inference_pool import Backend, InferencePoolSpec, NodeLimits
from forebay.planning.variants import Variant


@dataclass(frozen=True, slots=True)
class Bill:
    """GPUs and dollars per hour; None is unknown."""

    gpus: int | None
    usd_per_hour: float | None

    def __add__(self, other: Bill) -> Bill:
        gpus = None if self.gpus is None or other.gpus is None else self.gpus + other.gpus
        usd = None if self.usd_per_hour is None or other.usd_per_hour is None else round(self.usd_per_hour + other.usd_per_hour, 6)
        return Bill(gpus, usd)

    def within(self, limits: NodeLimits | Bill) -> bool:
        """Whether limits, or what is left of some, allow it."""
        return _within(self.gpus, limits.gpus) and _within(self.usd_per_hour, limits.usd_per_hour)

    def unknown(self, limits: NodeLimits) -> bool:
        """Whether a limit is set that this cannot be held against."""
        return (limits.gpus is not None and self.gpus is None) or (limits.usd_per_hour is not None and self.usd_per_hour is None)


NOTHING = Bill(0, 0.0)


def _within(taken: float | None, limit: float | None) -> bool:
    return limit is None or (taken is not None and taken <= limit)


def replicas_per_node(spec: InferencePoolSpec, variant: Variant) -> int:
    """Replicas that one node carries, 0 where one takes several; one where it is not known how many fit."""
    if variant.accelerator is None or not variant.gpus:
        return 1
    return units_per_node(spec, variant) // variant.gpus


def units_per_node(spec: InferencePoolSpec, variant: Variant) -> int:
    """GPUs, or partitions of this kind, on one node."""
    per_node = variant.accelerator.gpus_per_node if variant.accelerator else 1
    return per_node * spec.partitioning.layout.get(variant.partition, 1)


def nodes_needed(spec: InferencePoolSpec, variant: Variant, replicas: int) -> int:
    """Whole nodes that carry this many replicas."""
    per_node = replicas_per_node(spec, variant)
    return math.ceil(replicas / per_node) if per_node else replicas * math.ceil(variant.gpus / units_per_node(spec, variant))


def bill_of_nodes(variant: Variant, nodes: int) -> Bill:
    """What so many nodes of a variant take."""
    if not nodes:
        return NOTHING
    if variant.accelerator is None:
        return Bill(None, None)
    price = variant.usd_per_node_hour
    gpus = nodes * variant.accelerator.gpus_per_node if variant.profile is None or variant.gpus else 0
    return Bill(gpus, None if price is None else round(nodes * price, 6))


def bill(spec: InferencePoolSpec, variant: Variant, replicas: int) -> Bill:
    """What so many replicas of a variant take."""
    whole = bill_of_nodes(variant, nodes_needed(spec, variant, replicas))
    if spec.capacity.nodes.backend == Backend.KARPENTER or not whole.gpus or not variant.gpus:
        return whole
    gpus = math.ceil(replicas * variant.gpus / spec.partitioning.layout.get(variant.partition, 1))
    return Bill(gpus, None if whole.usd_per_hour is None else round(whole.usd_per_hour * gpus / whole.gpus, 6))
