"""Whether replicas wait for room that nobody makes.

Where Karpenter makes nodes, new replicas come up beside those that they replace. On existing nodes they may wait for the very GPUs that the
old ones hold; then the old must make room, one at a time.
"""

from __future__ import annotations

from collections.abc import Collection

from forebay.api.inference_pool import Backend
from forebay.planning.snapshot import Snapshot
from forebay.planning.supply import waited_s
from forebay.planning.variants import Variant

ROOM_PATIENCE_S = 60.0
"""A node that exists and has room takes a replica within moments."""


def makes_nodes(snapshot: Snapshot, variants: tuple[Variant, ...]) -> bool:
    """Whether Karpenter is asked for nodes: it must be wanted, be there, and know what kind of node."""
    wanted = snapshot.spec.capacity.nodes.backend == Backend.KARPENTER
    return wanted and snapshot.backend_installed and variants[0].accelerator is not None


def blocked(snapshot: Snapshot, variants: tuple[Variant, ...], names: Collection[str]) -> bool:
    """Whether a replica of the variants of these names has found no node for too long, and none will be made for it."""
    if makes_nodes(snapshot, variants):
        return False
    waiting = (p for p in snapshot.pods if p.variant in names and not p.node and not p.deleting)
    return any(waited_s(snapshot, p) > ROOM_PATIENCE_S for p in waiting)
