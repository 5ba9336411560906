"""What is remembered of a series: yesterday point by point, a mean day and a mean week in slots of ten minutes.

Slots are of UTC. Where people live by a clock that jumps, the mean day is an hour off for some days: the blend trusts it less meanwhile,
and the interval widens.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import exp, log

from forebay.planning.forecast.codes import MAX_VALUE, MISSING, code_of, value_of

DAY_S = 86400
WEEK_S = 7 * DAY_S
SLOT_S = 600
DAY_GAIN = 0.2
WEEK_GAIN = 0.5
LARGEST_CHANGE = 3.0
"""In logarithms: a slot follows no single value further than 20 times up or down."""


def slot_s(step_s: int) -> int:
    """Seconds of a slot: ten minutes, or a step where steps are longer."""
    return max(SLOT_S, step_s)


@dataclass(slots=True)
class Seasons:
    """History of a series with steps of `step_s` seconds, in codes; and the slot that is being filled.

    `slot` counts slots since the epoch; `total` and `count` are of the steps in it.
    """

    step_s: int
    yesterday: array[int]
    day: array[int]
    week: array[int]
    slot: int = -1
    total: float = 0.0
    count: int = 0

    def add(self, step: int, gap: int, value: float) -> None:
        """The value of a step that ended; `gap` steps before it were not seen."""
        ring = self.yesterday
        if gap >= len(ring):
            ring[:] = array("H", [MISSING]) * len(ring)
        else:
            for missed in range(step - gap, step):
                ring[missed % len(ring)] = MISSING
        ring[step % len(ring)] = code_of(value)
        self._count(step, 1, value)

    def teach(self, first: int, steps: int, value: float) -> None:
        """The mean of several steps within one slot: yesterday does not know them step by step."""
        for missed in range(first, first + steps):
            self.yesterday[missed % len(self.yesterday)] = MISSING
        self._count(first, steps, value)

    def _count(self, step: int, steps: int, value: float) -> None:
        slot = step * self.step_s // slot_s(self.step_s)
        if slot != self.slot:
            self._close()
            self.slot, self.total, self.count = slot, 0.0, 0
        self.total += value * steps
        self.count += steps

    def _close(self) -> None:
        if self.count:
            mean = self.total / self.count
            _follow(self.day, self.slot % len(self.day), mean, DAY_GAIN)
            _follow(self.week, self.slot % len(self.week), mean, WEEK_GAIN)

    def day_ago(self, step: int) -> float | None:
        """What was measured one day before a step of the day to come."""
        code = self.yesterday[step % len(self.yesterday)]
        return None if code == MISSING else value_of(code)

    def of_day(self, step: int) -> float | None:
        return _between(self.day, step, self.step_s)

    def of_week(self, step: int) -> float | None:
        return _between(self.week, step, self.step_s)


def _follow(profile: array[int], slot: int, value: float, gain: float) -> None:
    """An average of logarithms, so that one peak does not stand for a week."""
    if profile[slot] == MISSING:
        profile[slot] = code_of(value)
        return
    known = value_of(profile[slot])
    floor = 1e-3 + 0.1 * known
    change = gain * max(-LARGEST_CHANGE, min(LARGEST_CHANGE, log((value + floor) / (known + floor))))
    profile[slot] = code_of(min(MAX_VALUE, max(0.0, (known + floor) * exp(change) - floor)))


def _between(profile: array[int], step: int, step_s: int) -> float | None:
    """The profile at the middle of a step, between the middles of two slots."""
    width = slot_s(step_s)
    place = (step + 0.5) * step_s / width - 0.5
    first = int(place // 1)
    share = place - first
    code = profile[first % len(profile)]
    if code == MISSING:
        return None
    if share < 1e-9:
        return value_of(code)
    after = profile[(first + 1) % len(profile)]
    return None if after == MISSING else value_of(code) * (1 - share) + value_of(after) * share
