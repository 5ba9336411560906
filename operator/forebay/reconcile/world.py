"""Everything a reconciler may touch, handed in one piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from forebay.adapters.clock import Clock
from forebay.adapters.cluster import Cluster
from forebay.adapters.decisions import DecisionLog
from forebay.adapters.held import Held, HeldFor
from forebay.adapters.loaded import Loaded
from forebay.adapters.metrics import History, Metrics, NoHistory
from forebay.planning.memory import Memory
from forebay.planning.snapshot import Settings
from forebay.reconcile.events import Recorder
from forebay.reconcile.keys import Key
from forebay.reconcile.shares import Ledger
from forebay.reconcile.view import View

Applied = dict[str, tuple[str, float]]
"""What was applied last: path of an object to the hash of what was intended, and when, in seconds of the monotonic clock."""


_URGENT = ("target", "mix", "better_since", "spot_hold_until", "partitioning", "observed_since")


def urgent(memory: Memory) -> tuple[object, ...]:
    """The part of a memory that is saved at once when it changes: the next decisions rest on it."""
    return tuple(getattr(memory, name) for name in _URGENT)


@dataclass
class PoolRecord:
    """What the process keeps of one pool between two reconciles. `saved` is what was urgent of the memory that was saved last.

    When something was saved, recorded or shown is in seconds of the monotonic clock: none of it waits for a calendar that was set back.
    """

    uid: str
    memory: Memory
    saved: tuple[object, ...]
    saved_at: float = -inf
    decided: str = ""
    decided_at: str = ""
    recorded_at: float = -inf
    shown_at: float = -inf
    applied: Applied = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the replicas of one gateway said: when, in seconds of the monotonic clock, how many were asked, and who answered."""

    at: float
    asked: int
    answers: tuple[dict[str, HeldFor], ...]


@dataclass
class World:
    """The outside, as Protocols, and what is kept in between."""

    cluster: Cluster
    view: View
    metrics: Metrics
    loaded: Loaded
    held: Held
    clock: Clock
    decisions: DecisionLog
    recorder: Recorder
    settings: Settings
    history: History = field(default_factory=NoHistory)
    backend_installed: bool = False
    namespaces: tuple[str, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    gateways: dict[tuple[str, str], Applied] = field(default_factory=dict)
    pools: dict[tuple[str, str], PoolRecord] = field(default_factory=dict)
    routes: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """The pools that each gateway was given to route to, as `namespace/name`."""
    heard: dict[tuple[str, str], Heard] = field(default_factory=dict)
    knocking: set[Key] = field(default_factory=set)
    """Pools for which something was held at the last look."""
