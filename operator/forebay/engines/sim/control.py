"""Changing the simulator while it runs, for tests of what adapts to it and of what survives it: its profile and its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from forebay.api.durations import format_duration, parse_duration
from forebay.engines.openai import Refused, boolean, whole_number
from forebay.engines.sim.stepping import Profile

MAX_CONCURRENCY = 4096

_TIMES = {"base": "base_s", "perToken": "per_token_s", "perKvToken": "per_kv_token_s"}


@dataclass(frozen=True, slots=True)
class Faults:
    """What is made to go wrong: the process ends after so many more tokens; requests and health checks are refused with 503."""

    die_after_tokens: int | None = None
    refuse: bool = False


def profile_document(profile: Profile) -> dict[str, Any]:
    """The profile as `GET /sim/profile` shows it, in the words of a pool's `profiles[]`."""
    times = {name: format_duration(getattr(profile, field)) for name, field in _TIMES.items()}
    return {**times, "maxConcurrency": profile.max_concurrency}


def changed_profile(profile: Profile, document: dict[str, Any]) -> Profile:
    """The profile with what the document names. Raises Refused."""
    _refuse_unknown(document, {*_TIMES, "maxConcurrency"})
    times = {field: step_time(document[name], name) for name, field in _TIMES.items() if name in document}
    concurrency = whole_number(document, "maxConcurrency", 1, MAX_CONCURRENCY) or profile.max_concurrency
    return replace(profile, **times, max_concurrency=concurrency)


def step_time(value: Any, name: str) -> float:
    """Seconds of a part of a step: a duration, or a number of seconds. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refused(f"{name} must be a duration such as 7.1ms", name)
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise Refused(f"{name}: {error}", name) from error
    if not (math.isfinite(seconds) and 0 <= seconds <= 3600):
        raise Refused(f"{name} must be between 0s and 1h", name)
    return seconds


def read_faults(document: dict[str, Any]) -> Faults:
    """The faults of a document; what it leaves out is off. Raises Refused."""
    _refuse_unknown(document, {"dieAfterTokens", "refuse"})
    return Faults(whole_number(document, "dieAfterTokens", 1, 2**31), boolean(document, "refuse"))


def faults_document(faults: Faults) -> dict[str, Any]:
    return {"dieAfterTokens": faults.die_after_tokens, "refuse": faults.refuse}


def _refuse_unknown(document: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(document) - known)
    if unknown:
        raise Refused(f"unknown field {unknown[0][:100]!r}: there are {', '.join(sorted(known))}", unknown[0][:100])
