"""What status says of the profiles that were tuned."""

from __future__ import annotations

from forebay.api.inference_pool import Task
from forebay.api.meta import format_duration
from forebay.api.pool_status import ProfileStatus, TimeStatus
from forebay.planning.memory import TunedProfile
from forebay.planning.profiles import Use, assumed, key, speed
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import Choice, engine_profile, preferred_profile


def profiles_status(snapshot: Snapshot) -> list[ProfileStatus]:
    """The profiles that something was learned of, or that are taken to be as slow as others were found to be, in the pool's order."""
    found = []
    for choice in preferred_profile(snapshot.spec):
        tuned, now = snapshot.memory.profiles.get(key(snapshot.spec, choice)), speed(snapshot, choice)
        if tuned is not None and tuned.moments.count > 0.0:
            found.append(_profile(snapshot, choice, tuned, now.use))
        elif now.use == "Akin":
            found.append(_profile(snapshot, choice, assumed(snapshot, now.engine), now.use))
    return found


def _profile(snapshot: Snapshot, choice: Choice, tuned: TunedProfile, use: Use) -> ProfileStatus:
    declared = engine_profile(snapshot.spec, choice[1])
    chat = snapshot.spec.model.task is Task.CHAT
    return ProfileStatus(
        name=f"{choice[0].name}/{choice[1].partition}",
        use=use,
        base=_time(tuned, 0, tuned.base_s, declared.base_s),
        per_token=_time(tuned, 1, tuned.per_token_s, declared.per_token_s),
        per_kv_token=_time(tuned, 2, tuned.per_kv_token_s, declared.per_kv_token_s) if chat else None,
        observations=round(tuned.moments.count),
        age=_age(snapshot.now - tuned.at),
    )


def _time(tuned: TunedProfile, index: int, value_s: float, declared_s: float) -> TimeStatus:
    sd = tuned.covariance[index][index] ** 0.5
    return TimeStatus(value=format_duration(float(f"{value_s:.4g}")), declared=format_duration(declared_s), uncertainty=float(f"{sd:.2g}"))


def _age(seconds: float) -> str:
    """In steps, so that a status with nothing new in it is not written again with every look."""
    step_s = 60.0 if seconds < 3600.0 else 3600.0
    return format_duration(max(0.0, seconds // step_s * step_s))
