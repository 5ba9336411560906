"""What one decision about a pool has come to, before anything is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad
from forebay.planning.hold import Held
from forebay.planning.placement import Placed
from forebay.planning.snapshot import Snapshot
from forebay.planning.target import Sized
from forebay.planning.variants import Variant


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was decided."""

    snapshot: Snapshot
    sized: Sized
    held: Held
    placed: Placed
    loads: list[ClassLoad]
    targets: dict[str, tuple[Variant, int]]
    partitioned: Verdict | None
    document: dict[str, Any] | None
