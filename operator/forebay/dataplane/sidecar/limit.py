"""How many requests the engine should have at once, found while it runs.

A batching engine gets slower with every request it holds, and how much slower depends on the model, the GPU and the prompts; no number
is right for long. The limit goes up while the objectives are met and requests are held back by it, and down when one is missed. What is
judged is the time in the engine alone: time in the queue only grows when the limit falls, and judging it would drive the limit to one.

Rules that keep it from running away:
- one objective is enough to go down, and the strictest one that has traffic decides;
- after a change only what began afterwards counts, and nothing counts while more requests run than the limit allows;
- cuts to a quarter that hardly helped (the objective cannot be met at any concurrency) are taken back, for they cost throughput and buy
  nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forebay.dataplane.sidecar.config import ClassConfig, Mode, Objective

_SAMPLES = 1024
_FEW_SAMPLES = 5
# Below this share of the target there is room for more.
_HEADROOM = 0.9
_STRONGEST_CUT = 0.5
_WEAKEST_CUT = 0.9
# Cuts down to this share must have brought what was missed to at most this share of what it was.
_JUDGED_AT = 0.25
_HELPED = 0.9
_FIRST_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: how often to decide at most; how long to wait for enough samples; how long a cut that did not help is not tried again."""

    least_s: float = 1.0
    most_s: float = 5.0
    hold_s: float = 10.0


DEFAULT_PACE = Pace()


@dataclass(slots=True)
class Signal:
    """One objective of one class, and what was seen of it since the last decision."""

    objective: Objective
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def enough(self) -> int:
        """Samples that show the quantile: one in twenty lies above a p95."""
        return min(max(math.ceil(1 / (1 - self.objective.quantile + 1e-9)), 2 * _FEW_SAMPLES), 100)

    def ratio(self) -> float:
        """The quantile seen, over its target."""
        ordered = sorted(self.samples)
        return ordered[math.ceil(self.objective.quantile * len(ordered)) - 1] / self.objective.target_s


@dataclass(frozen=True, slots=True)
class Before:
    """Where a series of cuts began: the limit, how many requests ran, and how far the objective was missed."""

    limit: int
    busy: int
    ratio: float


class Limiter:
    """The limit of one replica. Times are those of one monotonic clock, which the caller reads."""

    def __init__(self, pace: Pace = DEFAULT_PACE) -> None:
        self._pace = pace
        self._adaptive = False
        self._ceiling = 1
        self._signals: dict[tuple[str, str], Signal] = {}
        self._since = 0.0
        self._changed = -math.inf
        self._peak = 0
        self._climbing = True
        self._overloads = 0
        self._before: Before | None = None
        self._hold_until = -math.inf
        self.limit = 1

    def configure(self, classes: Iterable[ClassConfig]) -> None:
        """Takes the classes of a configuration. What was learned stays, within the new bounds."""
        bounded = [config for config in classes if config.mode is not Mode.DISABLED]
        self._ceiling = max((config.max_batch_size for config in bounded), default=1)
        was_adaptive, self._adaptive = self._adaptive, any(config.mode is Mode.ADAPTIVE for config in bounded)
        if not self._adaptive:
            self.limit = self._ceiling
        else:
            self.limit = min(self.limit if was_adaptive else _FIRST_LIMIT, self._ceiling)
        wanted = _signals(bounded)
        self._signals = {key: self._signals.get(key) or Signal(objective) for key, objective in wanted.items()}
        for key, objective in wanted.items():
            self._signals[key].objective = objective

    def observe(self, batch_class: str, objective: str, seconds: float, began: float) -> None:
        """Takes a time in the engine that began at `began`."""
        signal = self._signals.get((batch_class, objective))
        if signal is not None and began >= self._changed:
            signal.samples.append(seconds)

    def holds(self, count: int) -> None:
        """Notes how many requests the engine has."""
        if count > self._peak:
            self._peak = count

    def overloaded(self) -> None:
        """Notes that the engine turned a request away."""
        self._overloads += 1

    def step(self, now: float, in_flight: int) -> None:
        """Decides, when there is something to decide on."""
        if not self._adaptive:
            return
        if in_flight > self.limit:
            self._restart(now, in_flight)
            return
        elapsed = now - self._since
        if elapsed < self._pace.least_s:
            return
        ratio = self._worst(patient=elapsed < self._pace.most_s)
        if self._overloads:
            self._climbing = False
            self._set(max(1, int(min(self.limit, self._peak) * _WEAKEST_CUT)), now)
        elif ratio is None:
            return
        elif ratio > 1:
            self._lower(ratio, now)
        else:
            self._before = None
            if ratio < _HEADROOM and self._peak >= self.limit and now >= self._hold_until:
                self._set(min(self._ceiling, self.limit * 2 if self._climbing else self.limit + math.ceil(math.sqrt(self.limit))), now)
        self._restart(now, in_flight)

    def _worst(self, patient: bool) -> float | None:
        """How far the strictest objective is from its target; None while too little was seen."""
        if not self._signals:
            return 0.0
        judged = [signal for signal in self._signals.values() if len(signal.samples) >= (signal.enough() if patient else _FEW_SAMPLES)]
        return max(signal.ratio() for signal in judged) if judged else None

    def _lower(self, ratio: float, now: float) -> None:
        self._climbing = False
        if now < self._hold_until:
            return
        busy = min(self.limit, max(self._peak, 1))
        if self._before is not None and busy <= max(1, self._before.busy * _JUDGED_AT):
            if ratio > self._before.ratio * _HELPED:
                self._set(min(self._before.limit, self._ceiling), now)
                self._hold_until = now + self._pace.hold_s
                self._before = None
                return
            self._before = None
        if self._before is None:
            self._before = Before(self.limit, busy, ratio)
        cut = min(busy - 1, int(busy * min(max(1 / ratio, _STRONGEST_CUT), _WEAKEST_CUT)))
        if cut >= 1:
            self._set(cut, now)

    def _set(self, limit: int, now: float) -> None:
        if limit != self.limit:
            self.limit = limit
            self._changed = now

    def _restart(self, now: float, in_flight: int) -> None:
        self._since = now
        self._peak = in_flight
        self._overloads = 0
        if in_flight > self.limit:
            self._changed = now
        for signal in self._signals.values():
            signal.samples.clear()


def _signals(classes: Iterable[ClassConfig]) -> Mapping[tuple[str, str], Objective]:
    return {(config.name, name): objective for config in classes for name, objective in config.objectives.items()}
