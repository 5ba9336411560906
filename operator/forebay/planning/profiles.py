"""Profiles that tune themselves: what a replica's steps take, learned from what the sidecars see of them.

The declared profile is a guess that counts like a few observations (`fit.py`). Sums of observations are carried along, and fade as new
ones come, so that the fit follows an engine that changes. A measurement that is far from what is expected, by a chi-square test of its
mean, is not taken in; when many in a row are not, it is what was learned that is wrong, and learning begins anew from the declared one.

A tuned profile sizes the pool once enough was seen. Until it is also sure for twice the load that it was seen with, only what is slower
than declared is believed: a pool that is sized too large costs money for a while, one that is too small breaks its promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log
from typing import Literal

from forebay.api.canonical import short_hash
from forebay.api.inference_pool import InferencePoolSpec, Model, Profile, Task, Tuning
from forebay.planning.fit import Fit, Sums, finite, fit, prior
from forebay.planning.measured import Demand, StepMoments
from forebay.planning.memory import TunedProfile
from forebay.planning.series import STEP_MOMENTS
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import MOST_PROFILES, Choice, engine_profile, preferred_profile
from forebay.planning.work import EngineProfile

Use = Literal["Declared", "Slower", "Tuned", "Akin"]

AT_ONCE = 20.0
"""Observations that one look at the metrics counts for at most: those of one time are much alike."""
MOST_SEEN = 2400.0
"""Observations that are carried along: the older ones fade when there are more, after half an hour under load."""
ENOUGH = 30.0
"""Observations after which a profile counts as seen: two looks under load."""
SURE = 0.1
"""Relative uncertainty, at twice the load that was seen, below which a profile is also believed to be faster than declared."""
GATE = 10.83
"""Chi-square with one degree of freedom that one in a thousand exceeds."""
MODEL_ERROR = 0.15
"""A measurement's mean may be off by this share in a load that the model describes badly."""
MOST_REJECTED = 8
"""So many measurements in a row that do not fit are not outliers."""
LEAST_S = (1e-4, 1e-6, 1e-9)
"""Scale of a time that was declared as nothing: base, per token, per token of context."""
MOST_STEP_S = 120.0


SHARED = 0.5
"""Of what a declared profile is wrong by as a whole, this part is taken to be so of the others of its pool: they have one model and one
server, whose settings whoever declared them may have had wrong."""
KIN = 1.05
"""Less than this is not worth telling."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A profile as the pool is sized by, and what it is in words."""

    engine: EngineProfile
    use: Use
    why: str = ""


def learned(snapshot: Snapshot) -> dict[str, TunedProfile]:
    """What is known of the spec's profiles, with what this measurement adds."""
    spec, demand, known = snapshot.spec, snapshot.demand, snapshot.memory.profiles
    result = {}
    for choice in preferred_profile(spec):
        if choice[1].tuning is Tuning.DISABLED:
            continue
        name, before = key(spec, choice), known.get(key(spec, choice))
        seen = _seen(snapshot, choice, demand) if demand is not None and snapshot.fresh else None
        after = before if seen is None or demand is None else _looked(spec, choice, before, seen, demand)
        if after is not None:
            result[name] = after
    return result


def speed(snapshot: Snapshot, choice: Choice) -> Speed:
    """The profile to size by: the declared one, or what it was learned to be."""
    declared, tuned = engine_profile(snapshot.spec, choice[1]), snapshot.memory.profiles.get(key(snapshot.spec, choice))
    if choice[1].tuning is Tuning.DISABLED:
        return Speed(declared, "Declared")
    if tuned is None or tuned.moments.count < ENOUGH:
        return _akin(snapshot, choice, declared)
    times = (tuned.base_s, tuned.per_token_s, tuned.per_kv_token_s)
    use: Use = "Tuned"
    if not _sure(tuned, _dimensions(snapshot.spec)):
        use = "Slower"
        said = (declared.base_s, declared.per_token_s, declared.per_kv_token_s)
        times = (max(times[0], said[0]), max(times[1], said[1]), max(times[2], said[2]))
    engine = EngineProfile(*times, declared.max_concurrency, declared.task)
    means = "where slower, " if use == "Slower" else ""
    why = (
        f"profile {choice[0].name}/{choice[1].partition} as tuned, {means}on {tuned.moments.count:.0f} observations of {STEP_MOMENTS}:"
        f" base {_ms(times[0])} (declared {_ms(declared.base_s)}), per token {_ms(times[1])} ({_ms(declared.per_token_s)})"
    )
    if declared.task is Task.CHAT:
        why += f", per token of context {_ms(times[2])} ({_ms(declared.per_kv_token_s)})"
    return Speed(engine, use, why)


def _akin(snapshot: Snapshot, choice: Choice, declared: EngineProfile) -> Speed:
    """A profile of which too little was seen: as slow as the pool's others lead to expect, but no faster than it is declared."""
    every = preferred_profile(snapshot.spec)
    slower = {f"{c[0].name}/{c[1].partition}": by for c in every if (by := _wrong_by(snapshot, c)) is not None}
    factor = exp(SHARED * sum(map(log, slower.values())) / len(slower)) if slower else 1.0
    if factor < KIN:
        return Speed(declared, "Declared")
    times = (factor * declared.base_s, factor * declared.per_token_s, factor * declared.per_kv_token_s)
    said = " and ".join(f"{name} is {by:.2f} times as slow" for name, by in slower.items())
    why = f"profile {choice[0].name}/{choice[1].partition} times {factor:.2f}, for nothing was seen of it yet and {said} as declared"
    return Speed(EngineProfile(*times, declared.max_concurrency, declared.task), "Akin", why)


def assumed(snapshot: Snapshot, engine: EngineProfile) -> TunedProfile:
    """A profile that nothing was seen of yet and that is sized by as this one: as sure as one that was declared."""
    return _tuned(prior(_scales(engine, _dimensions(snapshot.spec))), StepMoments(), snapshot.now, snapshot.now)


def _wrong_by(snapshot: Snapshot, choice: Choice) -> float | None:
    """How many times as long as declared a step takes by what was learned, with in it what was seen; None where that is not known well."""
    tuned, dimensions = snapshot.memory.profiles.get(key(snapshot.spec, choice)), _dimensions(snapshot.spec)
    if choice[1].tuning is Tuning.DISABLED or tuned is None or tuned.moments.count < ENOUGH:
        return None
    declared = Fit(_scales(engine_profile(snapshot.spec, choice[1]), dimensions), ())
    seen, found = sums_of(tuned.moments, dimensions).mean, _fit_of(tuned, dimensions)
    return found.step_s(seen) / declared.step_s(seen) if found.relative_variance(seen) <= SURE**2 else None


def key(spec: InferencePoolSpec, choice: Choice) -> str:
    """A profile by the times that it says, and of what: one that is corrected begins anew. How many requests may run changes no time."""
    return _key(choice[0].name, choice[1], spec.model)


@lru_cache(MOST_PROFILES)
def _key(accelerator: str, profile: Profile, model: Model) -> str:
    times = profile.model_dump(mode="json", exclude={"max_concurrency", "tuning"})
    return short_hash([accelerator, times, model.model_dump(mode="json")])


def forgotten(snapshot: Snapshot) -> tuple[str, ...]:
    """That something was learned which counts no longer, in the one decision that forgets it."""
    kept = {key(snapshot.spec, choice) for choice in preferred_profile(snapshot.spec) if choice[1].tuning is not Tuning.DISABLED}
    lost = sum(known.moments.count >= ENOUGH for name, known in snapshot.memory.profiles.items() if name not in kept)
    if not lost:
        return ()
    which = "a profile counts" if lost == 1 else f"{lost} profiles counts"
    return (f"what was learned of {which} no longer, for times, tuning or model were changed: replicas are taken for as fast as declared",)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"


def _dimensions(spec: InferencePoolSpec) -> int:
    """Times that a step has. A batch of inputs holds no context."""
    return 2 if spec.model.task is Task.EMBEDDINGS else 3


def _seen(snapshot: Snapshot, choice: Choice, demand: Demand) -> StepMoments | None:
    """What was measured of replicas of this profile; where variants cannot be told apart, of a pool that has one kind only."""
    kinds = {d.variant: (d.accelerator, d.partition) for d in snapshot.deployments}
    mine = choice[0].name, choice[1].partition
    found = [moments for variant, moments in demand.steps.items() if kinds.get(variant) == mine]
    if "" in demand.steps and {k for d, k in kinds.items() if d} == {mine}:
        found.append(demand.steps[""])
    return together(found) if found else None


def together(moments: list[StepMoments]) -> StepMoments:
    """The observations of all."""
    return StepMoments(**{name: sum(getattr(m, name) for m in moments) for name in StepMoments.model_fields})


def _looked(spec: InferencePoolSpec, choice: Choice, before: TunedProfile | None, seen: StepMoments, demand: Demand) -> TunedProfile | None:
    """The profile after one look at the metrics, of which only what came since the last one counts."""
    since_s = demand.measured_at - before.looked_at if before is not None else demand.window_s
    fresh = min(1.0, since_s / max(demand.window_s, 1e-9))
    if fresh <= 0.0 or seen.count * fresh < 0.5:
        return before
    scales = _scales(engine_profile(spec, choice[1]), _dimensions(spec))
    known = _fit_of(before, len(scales)) if before is not None else prior(scales)
    moments = before.moments if before is not None else StepMoments()
    if not _plausible(seen) or not _fits(known, sums_of(seen, len(scales))):
        return _rejected(before, demand, scales)
    moments = _faded(_added(moments, seen, min(fresh, AT_ONCE / seen.count)))
    found = fit(sums_of(moments, len(scales)), scales, known.times_s)
    if not finite(found):
        return _rejected(before, demand, scales)
    return _tuned(found, moments, demand.measured_at, demand.measured_at)


def _rejected(before: TunedProfile | None, demand: Demand, scales: tuple[float, ...]) -> TunedProfile:
    """The profile after a measurement that does not fit it."""
    rejected = before.rejected + 1 if before is not None else 1
    if before is None or rejected >= MOST_REJECTED:
        return _tuned(prior(scales), StepMoments(), before.at if before is not None else 0.0, demand.measured_at)
    return before.model_copy(update={"rejected": rejected, "looked_at": demand.measured_at})


def _tuned(found: Fit, moments: StepMoments, at: float, looked_at: float) -> TunedProfile:
    times = [float(f"{t:.6g}") for t in (*found.times_s, 0.0)]
    return TunedProfile(
        base_s=times[0],
        per_token_s=times[1],
        per_kv_token_s=times[2],
        covariance=tuple(tuple(float(f"{v:.6g}") for v in row) for row in found.covariance),
        moments=moments,
        at=at,
        looked_at=looked_at,
    )


def _fit_of(tuned: TunedProfile, dimensions: int) -> Fit:
    return Fit((tuned.base_s, tuned.per_token_s, tuned.per_kv_token_s)[:dimensions], tuned.covariance)


def _scales(engine: EngineProfile, dimensions: int) -> tuple[float, ...]:
    """The declared times, none of them nothing."""
    times = engine.base_s, engine.per_token_s, engine.per_kv_token_s
    return tuple(max(t, least) for t, least in zip(times, LEAST_S, strict=True))[:dimensions]


def sums_of(m: StepMoments, dimensions: int) -> Sums:
    """The observations as the fit takes them."""
    gram = ((m.count, m.tokens, m.context), (m.tokens, m.tokens_tokens, m.tokens_context), (m.context, m.tokens_context, m.context_context))
    cross = (m.seconds, m.seconds_tokens, m.seconds_context)
    return Sums(m.count, tuple(row[:dimensions] for row in gram[:dimensions]), cross[:dimensions], m.seconds_seconds)


def _plausible(m: StepMoments) -> bool:
    """Whether these can be sums over observations at all: finite, positive, and no mean beyond its own square's."""
    values = [getattr(m, name) for name in StepMoments.model_fields]
    if not all(0.0 <= v < inf for v in values) or not 0.0 < m.seconds <= MOST_STEP_S * m.count:
        return False
    pairs = ((m.tokens, m.tokens_tokens), (m.context, m.context_context), (m.seconds, m.seconds_seconds))
    alike = all(mean * mean <= square * m.count * (1.0 + 1e-6) for mean, square in pairs)
    crossed = (
        (m.tokens_context, m.tokens_tokens, m.context_context),
        (m.seconds_tokens, m.seconds_seconds, m.tokens_tokens),
        (m.seconds_context, m.seconds_seconds, m.context_context),
    )
    return alike and all(cross * cross <= one * other * (1.0 + 1e-6) for cross, one, other in crossed)


def _fits(known: Fit, seen: Sums) -> bool:
    """The gate: normalised innovation squared, of the logarithm of the mean step's time."""
    expected_s = known.step_s(seen.mean)
    if expected_s <= 0.0:
        return False
    off = log(seen.mean_s / expected_s)
    return off * off <= GATE * (known.relative_variance(seen.mean) + MODEL_ERROR**2)


def _added(before: StepMoments, seen: StepMoments, share: float) -> StepMoments:
    return StepMoments(**{name: _short(getattr(before, name) + share * getattr(seen, name)) for name in StepMoments.model_fields})


def _faded(moments: StepMoments) -> StepMoments:
    if moments.count <= MOST_SEEN:
        return moments
    share = MOST_SEEN / moments.count
    return StepMoments(**{name: _short(share * getattr(moments, name)) for name in StepMoments.model_fields})


def _short(value: float) -> float:
    return float(f"{value:.10g}")


def _sure(tuned: TunedProfile, dimensions: int) -> bool:
    """Whether it says well what a step takes with twice as much in it as was seen."""
    m = tuned.moments
    twice = (1.0, 2.0 * (m.tokens_tokens / m.count) ** 0.5, 2.0 * (m.context_context / m.count) ** 0.5)[:dimensions]
    return _fit_of(tuned, dimensions).relative_variance(twice) <= SURE**2
