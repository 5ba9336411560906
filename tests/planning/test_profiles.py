"""Profiles learn what replicas really do, from sums that may be anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.builders import A100, H100, NOW, a_deployment, a_profile, a_snapshot, a_spec, demand, running

from forebay.api.inference_pool import InferencePoolSpec
from forebay.api.meta import parse_duration
from forebay.api.step_moments import NOTHING, TERMS, observe
from forebay.planning.measured import StepMoments
from forebay.planning.memory import Memory, TunedProfile
from forebay.planning.planner import plan
from forebay.planning.preview import preview
from forebay.planning.profiles import MOST_REJECTED, learned, speed
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import Choice, preferred_profile

TRUE = (0.02, 0.05e-3, 0.2e-6)
"""What `a_profile` declares too: seconds a step, a token, a token of context."""
VARIANT = "h100-on-demand"
NEW = Memory()
Times = tuple[float, float, float]


def steps(times: Times = TRUE, *, running: tuple[float, float] = (1.0, 16.0), count: int = 40, seed: int = 1) -> StepMoments:
    """Observations of a replica with so many requests of 250 tokens in it, now and then with a prompt among them; 5 % of noise."""
    chance, sums = random.Random(seed), [*NOTHING]
    for _ in range(count):
        n, prompt = chance.uniform(*running), chance.choice((0.0, 0.0, 8.0, 20.0))
        tokens, context = n + prompt, 250 * n + prompt
        observe(sums, (times[0] + times[1] * tokens + times[2] * context) * chance.gauss(1.0, 0.05), tokens, context)
    return StepMoments.model_validate(dict(zip(TERMS, sums, strict=True)))


def sums_of_one(factor: float) -> list[float]:
    """Observations of one long request, again and again: half of a step's time is what it holds."""
    sums = [*NOTHING]
    for _ in range(16):
        observe(sums, factor * (TRUE[0] + TRUE[1] + TRUE[2] * 100_000), 1.0, 100_000.0)
    return sums


def choice() -> Choice:
    return preferred_profile(a_spec())[0]


def scaled(factor: float) -> Times:
    return factor * TRUE[0], factor * TRUE[1], factor * TRUE[2]


def looking(moments: StepMoments | None, memory: Memory = NEW, *, after_s: float = 0.0, variant: str = VARIANT, **fields: Any) -> Snapshot:
    """A pool whose replicas were seen to make these steps."""
    seen = demand(2.0, reporting=2).model_copy(
        update={"measured_at": NOW + after_s, "steps": {} if moments is None else {variant: moments}}
    )
    return a_snapshot(**{"now": NOW + after_s, "demand": seen, "memory": memory, "spec": a_spec(), **running(2), **fields})


def after_looks(moments: Callable[[int], StepMoments], looks: int, **fields: Any) -> Memory:
    """The memory after so many looks, 15 s apart."""
    memory = Memory()
    for i in range(looks):
        memory = plan(looking(moments(i), memory, after_s=15.0 * i, **fields)).memory
    return memory


def only(memory: Memory) -> TunedProfile:
    (tuned,) = memory.profiles.values()
    return tuned


def off(tuned: TunedProfile, times: Times = TRUE, tokens: float = 12.0, context: float = 3000.0) -> float:
    """The time of a step by what was learned, over what it is."""
    learned_s = tuned.base_s + tuned.per_token_s * tokens + tuned.per_kv_token_s * context
    return learned_s / (times[0] + times[1] * tokens + times[2] * context)


@pytest.mark.parametrize("wrong_by", [1 / 10, 1 / 3, 1.0, 3.0, 10.0])
def test_a_profile_that_is_wrong_converges_to_what_replicas_do(wrong_by: float) -> None:
    memory = after_looks(lambda i: steps(scaled(wrong_by), seed=i), 8)
    assert off(only(memory), scaled(wrong_by)) == pytest.approx(1.0, abs=0.05)
    assert only(memory).base_s == pytest.approx(scaled(wrong_by)[0], rel=0.1)
    status = plan(looking(None, memory, after_s=120.0)).status.profiles
    assert [(p.name, p.use) for p in status] == [("h100/full", "Tuned")]
    assert status[0].base.uncertainty < 0.1 and status[0].base.declared == "20ms" and status[0].age == "0s"


@pytest.mark.parametrize("wrong_by", [1 / 3, 3.0])
def test_a_constant_load_is_enough_for_what_it_asks(wrong_by: float) -> None:
    """The times cannot be told apart at one load, but what is wrong is most likely wrong as a whole."""
    tuned = only(after_looks(lambda i: steps(scaled(wrong_by), running=(7.9, 8.1), seed=i), 8))
    assert off(tuned, scaled(wrong_by), 13.0, 2000.0) == pytest.approx(1.0, abs=0.05)
    assert off(tuned, scaled(wrong_by), 26.0, 4000.0) == pytest.approx(1.0, abs=0.15)


def test_slower_replicas_are_more_of_them_and_the_decision_says_why() -> None:
    load = {"demand": None}
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 8)
    asked = demand(12.0, reporting=2).model_copy(update={"measured_at": NOW + 120})
    before = plan(a_snapshot(**{**running(2), **load, "now": NOW + 120, "demand": asked}))
    after = plan(a_snapshot(**{**running(2), "now": NOW + 120, "demand": asked, "memory": memory}))
    assert after.replicas > before.replicas
    assert any("as tuned" in why and "forebay_sidecar_step_moments_total" in why and "declared 20 ms" in why for why in after.why)


def test_what_is_slower_is_believed_before_what_is_faster() -> None:
    """Nobody has seen yet what a replica does with more than one request in it, and a step with one is nearly all fixed time."""
    alone = StepMoments.model_validate(dict(zip(TERMS, sums_of_one(0.5), strict=True)))
    memory = after_looks(lambda i: alone, 8)
    kept = speed(looking(None, memory, after_s=120.0), choice())
    assert only(memory).base_s < 0.6 * TRUE[0] and kept.use == "Slower" and kept.engine.base_s == TRUE[0]
    memory = after_looks(lambda i: StepMoments.model_validate(dict(zip(TERMS, sums_of_one(3.0), strict=True))), 8)
    assert speed(looking(None, memory, after_s=120.0), choice()).engine.base_s > 2.5 * TRUE[0]


def test_one_look_is_not_enough() -> None:
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 1)
    assert plan(looking(None, memory)).status.profiles[0].use == "Declared"


def test_the_same_measurement_counts_once() -> None:
    """Every change of a pod is a reason to plan, on the same measurement."""
    once = plan(looking(steps())).memory
    again = plan(looking(steps(), once)).memory
    assert again.profiles == once.profiles


def test_what_overlaps_counts_for_what_is_new() -> None:
    first = only(plan(looking(steps(count=9))).memory)
    second = only(plan(looking(steps(count=9), plan(looking(steps(count=9))).memory, after_s=15.0)).memory)
    assert first.moments.count == 9 and second.moments.count == pytest.approx(12)


def test_a_declared_profile_can_be_kept() -> None:
    fixed = a_spec(profiles=[a_profile(tuning="Disabled")])
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 8)
    decision = plan(looking(steps(scaled(3.0)), memory, after_s=120.0, spec=fixed))
    assert decision.memory.profiles == {} and decision.status.profiles == [] and not any("as tuned" in why for why in decision.why)


def test_a_profile_that_is_corrected_begins_anew() -> None:
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 8)
    slower = a_spec(profiles=[a_profile(iteration={"base": "60ms", "perToken": "0.15ms", "perKvToken": "0.6us"})])
    assert plan(looking(None, memory, after_s=120.0, spec=slower)).memory.profiles == {}


@pytest.mark.parametrize("changed", [{"profiles": [a_profile(maxConcurrency=32)]}, {"scaling": {"minReplicas": 2, "maxReplicas": 9}}])
def test_what_was_learned_stays_while_its_times_are_declared_as_they_were(changed: dict[str, Any]) -> None:
    """A profile that is 3 times slower than declared is so with more places too: the pool must not be sized for a third."""
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 8)
    decision = plan(looking(None, memory, after_s=120.0, spec=a_spec(**changed)))
    assert only(decision.memory) == only(memory) and not any("counts no longer" in why for why in decision.why)


@pytest.mark.parametrize(
    "changed", [{"model": {"name": "another"}}, {"profiles": [a_profile(gpus=2)]}, {"profiles": [a_profile(tuning="Disabled")]}]
)
def test_what_was_learned_of_something_else_is_forgotten_and_that_is_said_once(changed: dict[str, Any]) -> None:
    memory = after_looks(lambda i: steps(scaled(3.0), seed=i), 8)
    spec = a_spec(**changed)
    first = plan(looking(None, memory, after_s=120.0, spec=spec))
    assert first.memory.profiles == {} and any("what was learned of a profile counts no longer" in why for why in first.why)
    assert preview(looking(None, memory, after_s=120.0, spec=spec)).notes and not preview(looking(None, memory, after_s=120.0)).notes
    assert not any("counts no longer" in why for why in plan(looking(None, first.memory, after_s=135.0, spec=spec)).why)


# what does not fit


def broken(**terms: float) -> StepMoments:
    return steps().model_copy(update=terms)


@pytest.mark.parametrize(
    "moments",
    [
        broken(seconds=nan),
        broken(seconds=-1.0),
        broken(tokens_tokens=inf),
        broken(seconds=0.0),
        broken(seconds=1e9),
        broken(seconds_seconds=0.0),
        broken(seconds_tokens=1e6),
        broken(tokens=1e12),
        steps(scaled(1000.0)),
        steps(scaled(0.001)),
    ],
    ids=["NaN", "negative", "infinite", "no time", "ages", "no square", "crossed", "absurd", "a thousand times", "a thousandth"],
)
def test_garbage_is_not_learned(moments: StepMoments) -> None:
    good = after_looks(lambda i: steps(seed=i), 4)
    after = plan(looking(moments, good, after_s=60.0)).memory
    assert only(after).base_s == only(good).base_s and only(after).rejected == 1
    assert only(plan(looking(moments)).memory).moments.count == 0.0
    back = plan(looking(steps(), after, after_s=75.0)).memory
    assert only(back).rejected == 0 and only(back).at > only(good).at


def test_an_engine_that_changed_is_learned_anew() -> None:
    """One measurement three times as slow is an outlier; many in a row are an engine that is three times as slow."""
    memory = after_looks(lambda i: steps(seed=i), 40)
    outlier = plan(looking(steps(scaled(3.0)), memory, after_s=600.0)).memory
    assert only(outlier).base_s == only(memory).base_s and only(outlier).rejected == 1
    for i in range(MOST_REJECTED + 6):
        memory = plan(looking(steps(scaled(3.0), seed=i), memory, after_s=600.0 + 15.0 * i)).memory
    assert off(only(memory), scaled(3.0)) == pytest.approx(1.0, abs=0.05)


def test_a_slow_change_is_followed() -> None:
    memory = after_looks(lambda i: steps(scaled(1.0 + 0.004 * i), seed=i), 200)
    assert off(only(memory), scaled(1.8)) == pytest.approx(1.0, abs=0.3) and only(memory).rejected == 0


# whose steps they are

TWO: dict[str, Any] = {"profiles": [a_profile(), a_profile("a100")], "capacity": {"accelerators": [H100, A100]}}
BOTH = (a_deployment(1), a_deployment(1, accelerator="a100"))


def both(spec: InferencePoolSpec, **counts: StepMoments) -> Memory:
    """What a pool on two kinds of GPU learns."""
    seen = demand(2.0, reporting=2).model_copy(update={"steps": {k.replace("_", "-"): m for k, m in counts.items()}})
    return Memory(profiles=learned(a_snapshot(spec=spec, demand=seen, deployments=BOTH)))


def test_each_variant_is_learned_by_itself() -> None:
    found = both(a_spec(**TWO), h100_on_demand=steps(), a100_on_demand=steps(scaled(2.0)))
    fast, slow = (t.base_s for t in found.profiles.values())
    assert slow > 1.6 * fast


TWO = {"profiles": [a_profile(), a_profile("a100")], "capacity": {"accelerators": [H100, A100]}}


def test_a_profile_that_nothing_was_seen_of_is_as_slow_as_its_kin_lead_to_expect() -> None:
    spec = a_spec(**TWO)
    memory = after_looks(lambda i: steps(scaled(2.0), seed=i), 12, spec=spec)
    h100, a100 = preferred_profile(spec)
    seen = looking(None, memory, spec=spec)
    assert speed(seen, h100).use == "Tuned"
    akin = speed(seen, a100)
    assert akin.use == "Akin" and akin.engine.base_s == pytest.approx(TRUE[0] * 2.0**0.5, rel=0.05)
    assert "h100/full is 2.0" in akin.why and "nothing was seen of it yet" in akin.why
    told = {p.name: p for p in plan(seen).status.profiles}["a100/full"]
    assert (told.use, told.observations, told.base.declared) == ("Akin", 0, "20ms") and told.base.uncertainty > 0.5
    assert parse_duration(told.base.value) == pytest.approx(akin.engine.base_s, rel=1e-3)


def test_a_profile_that_nothing_was_seen_of_is_never_taken_to_be_faster_than_declared() -> None:
    spec = a_spec(**TWO)
    memory = after_looks(lambda i: steps(scaled(0.5), seed=i), 12, spec=spec)
    assert speed(looking(None, memory, spec=spec), preferred_profile(spec)[1]).use == "Declared"


def test_what_was_seen_of_a_profile_itself_counts_and_not_its_kin() -> None:
    spec = a_spec(**TWO)
    memory = after_looks(lambda i: steps(scaled(2.0), seed=i), 12, spec=spec)
    both = {"deployments": (a_deployment(2), a_deployment(2, accelerator="a100"))}
    for i in range(12):
        memory = plan(looking(steps(seed=i), memory, after_s=400.0 + 15.0 * i, variant="a100-on-demand", spec=spec, **both)).memory
    assert speed(looking(None, memory, spec=spec), preferred_profile(spec)[1]).use == "Tuned"


def test_a_profile_that_is_to_be_kept_is_kept_whatever_its_kin_are() -> None:
    spec = a_spec(**{**TWO, "profiles": [a_profile(), a_profile("a100", tuning="Disabled")]})
    memory = after_looks(lambda i: steps(scaled(2.0), seed=i), 12, spec=spec)
    assert speed(looking(None, memory, spec=spec), preferred_profile(spec)[1]).use == "Declared"


def test_variants_that_cannot_be_told_apart_are_learned_only_where_there_is_one() -> None:
    """As with a Prometheus whose relabelling does not bring the variant."""
    seen = demand(2.0).model_copy(update={"steps": {"": steps()}})
    assert len(plan(looking(steps(), variant="")).memory.profiles) == 1
    assert learned(a_snapshot(spec=a_spec(**TWO), demand=seen, deployments=BOTH)) == {}


def test_embeddings_have_no_context() -> None:
    chance, sums = random.Random(1), [*NOTHING]
    for _ in range(40):
        tokens = chance.uniform(20, 3000)
        observe(sums, 3 * (TRUE[0] + TRUE[1] * tokens), tokens, 0.0)
    batches = StepMoments.model_validate(dict(zip(TERMS, sums, strict=True)))
    spec = a_spec(model={"name": "m", "task": "Embeddings"})
    tuned = only(after_looks(lambda i: batches, 6, spec=spec))
    assert (tuned.base_s, tuned.per_token_s) == (pytest.approx(3 * TRUE[0], rel=0.05), pytest.approx(3 * TRUE[1], rel=0.05))
    assert plan(looking(batches, spec=spec)).status.profiles[0].per_kv_token is None


# always


@st.composite
def sums(draw: st.DrawFn) -> StepMoments:
    if draw(st.booleans()):
        count = draw(st.integers(1, 60))
        times = tuple(t * draw(st.floats(0.01, 100.0)) for t in TRUE)
        return steps((times[0], times[1], times[2]), count=count, seed=draw(st.integers(0, 9)))
    return StepMoments(**{name: draw(st.floats(0.0, 1e30)) for name in StepMoments.model_fields})


@settings(max_examples=150, deadline=None)
@given(st.lists(sums(), min_size=1, max_size=6))
def test_whatever_is_measured_times_stay_times(looks: list[StepMoments]) -> None:
    memory = Memory()
    for i, moments in enumerate(looks):
        snapshot = looking(moments, memory, after_s=15.0 * i)
        memory = plan(snapshot).memory
        assert Memory.model_validate_json(memory.model_dump_json()) == memory
    for tuned in memory.profiles.values():
        for value, declared in zip((tuned.base_s, tuned.per_token_s, tuned.per_kv_token_s), TRUE, strict=True):
            assert isfinite(value) and declared / 20.1 <= value <= declared * 20.1
        assert all(isfinite(v) for row in tuned.covariance for v in row) and all(tuned.covariance[i][i] > 0 for i in range(3))


def test_the_same_snapshot_gives_the_same_plan() -> None:
    memory = after_looks(lambda i: steps(scaled(2.0), seed=i), 5)
    snapshot = looking(steps(scaled(2.0)), memory, after_s=75.0)
    again = Snapshot.model_validate_json(snapshot.model_dump_json(by_alias=True))
    assert plan(again).model_dump_json() == plan(snapshot).model_dump_json()
