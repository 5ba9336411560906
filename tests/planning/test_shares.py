"""Limits that pools share: who gets what, never more than there is, and nothing taken back and forth."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.inference_pool import NodeLimits
from forebay.api.shared_limits import SharedLimit
from forebay.planning.limits import NOTHING, Bill
from forebay.planning.shares import Ask, Step, divide, division_of, kept, share_of

GPUS = SharedLimit(name="team", gpus=8)


def an_ask(*worth: float, gpus: int = 1, usd: float | None = 2.0, **fields: object) -> Ask:
    """A pool whose n-th replica adds so many dollars per hour of answers in time."""
    steps = [Step(replicas=0, gpus=0, usd_per_hour=0.0)]
    for number, more in enumerate(worth, 1):
        price = None if usd is None else usd * number
        steps.append(Step(replicas=number, gpus=gpus * number, usd_per_hour=price, worth_usd_per_hour=steps[-1].worth_usd_per_hour + more))
    return Ask.model_validate({"steps": steps, **fields})


def replicas(limit: NodeLimits, **asks: Ask) -> dict[str, int]:
    return {name: part.step.replicas for name, part in divide(limit, asks).parts.items()}


def test_everybody_gets_what_is_wanted_where_there_is_enough() -> None:
    assert replicas(NodeLimits(gpus=8), a=an_ask(9, 9, 9), b=an_ask(1, 1)) == {"a": 3, "b": 2}


def test_the_next_replica_goes_where_a_dollar_gains_most() -> None:
    found = divide(NodeLimits(gpus=4), {"a": an_ask(9, 5, 1), "b": an_ask(8, 4, 2)})
    assert {name: part.step.replicas for name, part in found.parts.items()} == {"a": 2, "b": 2}
    assert found.parts["a"].next_gain == pytest.approx(0.5)
    assert found.parts["b"].last_gain == pytest.approx(2.0)
    assert not found.stays
    assert found.per_dollar


def test_a_replica_that_costs_twice_must_gain_twice() -> None:
    assert replicas(NodeLimits(usd_per_hour=4), dear=an_ask(9, usd=4.0), cheap=an_ask(5, 5)) == {"dear": 0, "cheap": 2}


def test_without_a_price_gains_are_compared_by_the_gpu() -> None:
    found = divide(NodeLimits(gpus=4), {"big": an_ask(9, gpus=4, usd=None), "small": an_ask(3, 3, 3, 3)})
    assert not found.per_dollar
    assert {name: part.step.replicas for name, part in found.parts.items()} == {"big": 0, "small": 4}


def test_every_pool_gets_its_floor_before_gains_are_compared() -> None:
    assert replicas(NodeLimits(gpus=4), rich=an_ask(9, 9, 9, 9), poor=an_ask(0, 0, floor=1)) == {"rich": 3, "poor": 1}


def test_what_is_promised_nothing_gets_what_is_left() -> None:
    assert replicas(NodeLimits(gpus=4), chat=an_ask(9, 9, 9), batch=an_ask(0, 0, 0)) == {"chat": 3, "batch": 1}


def test_replicas_that_are_worth_something_only_together_are_weighed_together() -> None:
    """A promise that two replicas miss and three keep: the third's gain is that of all three."""
    assert replicas(NodeLimits(gpus=3), a=an_ask(0, 0, 9), b=an_ask(2, 2, 2)) == {"a": 3, "b": 0}


def test_what_does_not_fit_leaves_room_for_what_does() -> None:
    assert replicas(NodeLimits(gpus=5), wide=an_ask(90, 90, gpus=4), slim=an_ask(1, 1, 1)) == {"wide": 1, "slim": 1}


def test_what_is_held_is_not_taken_for_a_little_more() -> None:
    held, new = an_ask(9, 5, holding=2), an_ask(9, 5.5)
    assert replicas(NodeLimits(gpus=3), held=held, new=new) == {"held": 2, "new": 1}
    assert replicas(NodeLimits(gpus=3), held=held, new=an_ask(9, 7)) == {"held": 1, "new": 2}


def test_a_floor_is_given_even_where_another_pool_has_all() -> None:
    assert replicas(NodeLimits(gpus=2), rich=an_ask(9, 9, 9, holding=2), poor=an_ask(1, 1, floor=1)) == {"rich": 1, "poor": 1}


_WORTHS = st.lists(st.floats(0, 100), min_size=1, max_size=5).map(lambda x: sorted(x, reverse=True))
_ASKS = st.lists(st.builds(lambda w, g: an_ask(*w, gpus=g, usd=2.0 * g), _WORTHS, st.integers(1, 4)), min_size=1, max_size=4)


@given(_ASKS, st.integers(0, 24))
def test_a_division_never_exceeds_the_limit(asks: list[Ask], gpus: int) -> None:
    found = divide(NodeLimits(gpus=gpus), {str(i): ask for i, ask in enumerate(asks)})
    given_ = sum((part.step.bill for part in found.parts.values()), NOTHING)
    assert given_.gpus is not None and given_.gpus <= gpus
    assert found.left.gpus == gpus - given_.gpus


@given(st.lists(_WORTHS, min_size=2, max_size=3), st.integers(0, 10))
def test_a_division_among_alike_gpus_gains_as_much_as_any(worths: list[list[float]], gpus: int) -> None:
    asks = {str(i): an_ask(*w) for i, w in enumerate(worths)}
    found = divide(NodeLimits(gpus=gpus), asks)
    best = max(
        sum(ask.steps[n].worth_usd_per_hour for ask, n in zip(asks.values(), counts, strict=True))
        for counts in itertools.product(*(range(len(w) + 1) for w in worths))
        if sum(counts) <= gpus
    )
    assert sum(part.step.worth_usd_per_hour for part in found.parts.values()) == pytest.approx(best)


def of(pool: str, own: Bill, unknown: set[str] | None = None, limit: SharedLimit = GPUS, **asks: Ask) -> tuple[int | None, str, bool]:
    due = share_of(limit, pool, asks, unknown or set(), own)
    return due.share.gpus, due.share.why, due.takes_away


def test_two_pools_fighting_for_the_last_gpu() -> None:
    """The other waits until who has it has given it back; then it has it, and nothing is ever counted twice."""
    holder = an_ask(9, 9, 9, 9, 1, taken_gpus=5, holding=5)
    comer = an_ask(9, 9, 9, 9, taken_gpus=3, holding=3)
    gpus, why, takes_away = of("holder", Bill(5, 10.0), holder=holder, comer=comer)
    assert (gpus, takes_away) == (4, True)
    assert "4 of 5 replicas" in why and "comer's last gain $4.5" in why
    assert of("comer", Bill(3, 6.0), holder=holder, comer=comer)[0] == 3
    given_back = holder.model_copy(update={"taken_gpus": 4, "holding": 4})
    assert of("comer", Bill(3, 6.0), holder=given_back, comer=comer)[0] == 4
    full = comer.model_copy(update={"taken_gpus": 4, "holding": 4})
    gpus, why, takes_away = of("holder", Bill(4, 8.0), holder=given_back, comer=full)
    assert (gpus, takes_away) == (4, False)


def test_what_nobody_wants_is_everybodys() -> None:
    a, b = an_ask(9, taken_gpus=1), an_ask(9, 9, taken_gpus=2)
    assert of("a", Bill(1, 2.0), a=a, b=b)[:2] == (6, of("a", Bill(1, 2.0), a=a, b=b)[1])
    assert of("b", Bill(2, 4.0), a=a, b=b)[0] == 7


def test_nobody_grows_before_every_pool_was_planned() -> None:
    gpus, why, _ = of("a", Bill(2, 4.0), unknown={"b"}, a=an_ask(9, 9, 9, taken_gpus=2))
    assert gpus == 2 and "nothing grows while b was not planned yet" in why
    assert of("a", Bill(2, 4.0), b=an_ask(1))[0] == 2


def test_nobody_grows_beside_what_cannot_be_counted() -> None:
    limit = SharedLimit(name="team", usd_per_hour=100)
    unpriced = an_ask(1, usd=None, taken_usd_per_hour=None)
    due = share_of(limit, "a", {"a": an_ask(9, 9), "ml/b": unpriced}, set(), Bill(1, 2.0))
    assert due.share.usd_per_hour == 2.0 and "what ml/b takes cannot be counted" in due.share.why


def test_a_dry_pool_neither_grows_nor_gives_back() -> None:
    dry = an_ask(90, 90, 90, 90, 90, 90, 90, 90, taken_gpus=3, dry=True)
    assert of("a", NOTHING, a=an_ask(*[1] * 8), dry=dry)[0] == 5
    assert of("dry", Bill(3, 6.0), a=an_ask(*[1] * 8, taken_gpus=5), dry=dry)[0] == 3


def test_one_division_gives_every_pool_what_its_own_would() -> None:
    asks = {
        "a": an_ask(9, 9, 9, 1, taken_gpus=2, holding=2),
        "b": an_ask(8, 7, 6, taken_gpus=1, holding=1),
        "dry": an_ask(90, 90, 90, taken_gpus=2, dry=True),
        "uncounted": Ask(steps=(Step(replicas=0, gpus=0), Step(replicas=1)), taken_gpus=1),
    }
    once = division_of(GPUS, asks)
    assert set(once.parts) == {"a", "b"}
    for pool, ask in asks.items():
        assert share_of(GPUS, pool, asks, set(), ask.taken, once) == share_of(GPUS, pool, asks, set(), ask.taken)


def test_a_limit_that_was_lowered_shrinks_pools_to_their_parts_and_no_further() -> None:
    a, b = an_ask(*[9] * 8, taken_gpus=8, holding=8), an_ask(*[9] * 8, taken_gpus=8, holding=8)
    shares = [of(name, Bill(8, 16.0), a=a, b=b) for name in ("a", "b")]
    assert sum(gpus or 0 for gpus, _, _ in shares) == 8
    assert not any(takes_away for _, _, takes_away in shares), "beyond the limit nothing waits"


def test_what_is_taken_away_may_be_kept_for_a_while() -> None:
    due = share_of(GPUS, "a", {"a": an_ask(*[1] * 8, taken_gpus=6), "b": an_ask(*[9] * 8)}, set(), Bill(6, 12.0))
    assert due.takes_away and due.share.gpus == 0
    held = kept(GPUS, due.share, Bill(6, 12.0))
    assert held.gpus == 6 and held.why.endswith("It keeps what it has until that was so for a whole window")


@given(st.lists(st.tuples(_WORTHS, st.integers(0, 5)), min_size=2, max_size=4), st.integers(1, 12))
def test_shares_taken_one_after_the_other_never_exceed_the_limit(pools: list[tuple[list[float], int]], gpus: int) -> None:
    """Whatever was taken before within the limit, each pool in its turn takes all of its share: together it is never more, nor where
    the division is of a while ago.
    """
    limit = SharedLimit(name="team", gpus=gpus)
    asks, left = {}, gpus
    for number, (worths, had) in enumerate(pools):
        has = min(had, left)
        left -= has
        asks[str(number)] = an_ask(*worths, taken_gpus=has, holding=min(has, len(worths)))
    early = division_of(limit, asks)
    for name, division in itertools.product(asks, (None, early)):
        own = asks[name].taken
        share = share_of(limit, name, asks, set(), own, division).share
        assert share.gpus is not None
        takes = min(share.gpus, len(asks[name].steps) - 1)
        asks[name] = asks[name].model_copy(update={"taken_gpus": takes, "holding": takes})
        assert sum(ask.taken_gpus or 0 for ask in asks.values()) <= gpus


def test_a_pool_alone_under_a_limit_is_not_told_of_others() -> None:
    limit = SharedLimit(name="team", usd_per_hour=5)
    why = share_of(limit, "ml/a", {"ml/a": an_ask(9, 9, 9)}, (), NOTHING).share.why
    assert "2 of 3 replicas" in why and why.endswith("what is left is too little for the next")
    why = share_of(limit, "ml/a", {"ml/a": an_ask(9, 9, 9), "ml/b": an_ask(0, floor=1)}, (), NOTHING).share.why
    assert why.endswith("what is left goes to the floors of other pools")


def test_a_division_of_a_moment_ago_does_not_say_that_others_give_back() -> None:
    """Of many pools a limit is not divided at each look."""
    limit = SharedLimit(name="team", gpus=4)
    before = {"ml/a": an_ask(9), "ml/b": an_ask(9, 9, 9)}
    now = {**before, "ml/a": an_ask(9, 9, 9)}
    why = share_of(limit, "ml/a", now, (), NOTHING, division_of(limit, before)).share.why
    assert "divided a moment ago, when the pool wanted 1" in why and "given it back" not in why
