"""Where demand comes from. An answer has an age; no answer (None) is not zero demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forebay.planning.measured import ClassHistory, Demand


@dataclass(frozen=True, slots=True)
class Target:
    """A replica whose sidecar can be measured. `ready_at` is None where it is not ready, or about to go."""

    pod: str
    address: str
    port: int
    ready_at: float | None
    variant: str = ""


class Metrics(Protocol):
    """Measured demand of a pool."""

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        """The newest measurement, possibly an old one; None where nothing was ever measured."""

    def forget(self, namespace: str, pool: str) -> None:
        """The pool is gone."""


class History(Protocol):
    """What was measured of a pool's classes before."""

    async def read(self, namespace: str, pool: str, since: Mapping[str, float], now: float) -> dict[str, ClassHistory]:
        """The past of these classes from then until now, or until a moment ago; without those that cannot be told yet."""

    def trouble(self, namespace: str, pool: str) -> str:
        """Why the past of a pool could not be read when it was last asked for; empty where nothing stands against it."""

    def forget(self, namespace: str, pool: str) -> None:
        """The pool is gone."""


class NoHistory:
    """Nobody has kept any."""

    async def read(self, namespace: str, pool: str, since: Mapping[str, float], now: float) -> dict[str, ClassHistory]:
        return {}

    def trouble(self, namespace: str, pool: str) -> str:
        return ""

    def forget(self, namespace: str, pool: str) -> None: ...


class MetricsInMemory:
    """Answers what was put in, for tests."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Demand] = {}

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        return self.answers.get((namespace, pool))

    def forget(self, namespace: str, pool: str) -> None:
        self.answers.pop((namespace, pool), None)
