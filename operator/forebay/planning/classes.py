"""What is said about a BatchClass: whether any pool serves it."""

from __future__ import annotations

from forebay.api.conditions import Reason, Type
from forebay.planning.decision import Verdict


def class_verdicts(pools: int) -> tuple[Verdict, ...]:
    """Conditions of a class that this many pools serve."""
    accepted = Verdict(type=Type.ACCEPTED, status="True", reason=Reason.ACCEPTED, message="the class can be used")
    if pools:
        served = Verdict(type=Type.RESOLVED_REFS, status="True", reason=Reason.RESOLVED, message=_serve(pools))
    else:
        message = "no InferencePool serves this class: name it in a pool's spec.classes"
        served = Verdict(type=Type.RESOLVED_REFS, status="False", reason=Reason.NO_POOL_SERVES, message=message)
    return (accepted, served)


def _serve(pools: int) -> str:
    return "1 pool serves this class" if pools == 1 else f"{pools} pools serve this class"
