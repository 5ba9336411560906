"""What a pool that may sleep learns from pauses, and from which it learns nothing."""

from __future__ import annotations

import pytest
from tests.planning.builders import NOW, demand
from tests.planning.test_sleep import ONE_HELD, idle

from forebay.planning.measured import AtGateways
from forebay.planning.memory import Rest
from forebay.planning.planner import plan


@pytest.mark.parametrize("away_s", [60.0, 5000.0])
def test_a_pause_in_which_nobody_looked_for_a_while_teaches_nothing(away_s: float) -> None:
    """The operator was away, or the clock was set forward: who asked meanwhile, or how long it was, is not known."""
    for asked in ({"demand": demand(rps=0.1, reporting=1)}, {"gateways": ONE_HELD}):
        snapshot = idle(5600, **asked)
        memory = snapshot.memory.model_copy(update={"looked_at": NOW - away_s})
        assert plan(snapshot.model_copy(update={"memory": memory})).memory.rest == Rest(), "the pause is over and forgotten"


def remembered(asked_at_s: tuple[int, ...], away: range) -> tuple[float, ...]:
    """Pauses that a pool remembers that is looked at every 15 s for a quarter of an hour and more, `away` looks excepted."""
    snapshot = idle(0)
    memory = snapshot.memory.model_copy(update={"rest": Rest()})
    for look in range(90):
        now = NOW + 15 * look
        seen = demand(rps=0.1 if 15 * look in asked_at_s else 0.0, reporting=1, age_s=NOW - now)
        if look not in away:
            memory = plan(snapshot.model_copy(update={"now": now, "memory": memory, "demand": seen, "gateways": AtGateways()})).memory
    assert memory.rest is not None
    return memory.rest.pauses_s


def test_a_pause_whose_beginning_nobody_saw_teaches_nothing_and_the_next_one_does() -> None:
    asked_at_s = (0, 600, 1200)
    assert remembered(asked_at_s, away=range(0)) == (585.0, 585.0)
    assert remembered(asked_at_s, away=range(1, 10)) == (585.0,), "it began while nobody looked"
    assert remembered(asked_at_s, away=range(10, 20)) == (585.0,), "it went on while nobody looked"
