"""What an InferencePool says of its pace: when and how fast capacity is given back, and what is kept ready beyond what is needed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from forebay.api.meta import BOUNDED_DURATION, K8sModel, cel, format_duration, parse_duration, rules

AUTO: Literal["Auto"] = "Auto"


def _int_or_string(pattern: str, minimum: int) -> dict[str, Any]:
    """Bounds count for numbers and the pattern for words."""
    return {"x-kubernetes-int-or-string": True, "pattern": pattern, "minimum": minimum, "maximum": 10000}


def _window(value: Any) -> Any:
    return value if value == AUTO else parse_duration(value)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else format_duration(value)


def share_of(per_step: int | str) -> float | None:
    """The share that a percentage such as 10% stands for; None for a number."""
    return float(per_step.removesuffix("%")) / 100 if isinstance(per_step, str) else None


Window = Annotated[
    float | Literal["Auto"],
    BeforeValidator(_window),
    PlainSerializer(_text, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 32,
            **rules(
                cel(
                    f"self == 'Auto' || self.matches(r'{BOUNDED_DURATION}')",
                    "must be Auto, or a duration such as 250ms, 30s or 1h30m, of at most 9 digits a unit",
                )
            ),
        }
    ),
]
"""Seconds inside, a duration or Auto outside."""

PerStep = Annotated[
    int | Annotated[str, Field(pattern=r"^(100|[1-9][0-9]?)%$")],
    WithJsonSchema(_int_or_string(r"^(100|[1-9][0-9]?)%$", 1)),
]
Standby = Annotated[int | Literal["Auto"], WithJsonSchema(_int_or_string("^Auto$", 0))]


class ScaleDown(K8sModel):
    """When capacity may be given back, and how much of it at once."""

    stabilization: Annotated[
        Window,
        Field(
            description="How long less must have been enough, never shorter than the measured start time of a replica. Auto is five"
            " minutes, or what it costs to start one again where that is longer: its start time, and more by objectives.missUsdPer1k."
        ),
    ] = AUTO
    max_per_step: Annotated[
        PerStep,
        Field(
            description="Most replicas that are given back within two minutes: a number, or a percentage of those there were when the two"
            " minutes began, at least one."
        ),
    ] = "100%"
