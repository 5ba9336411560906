"""What an InferencePool says of its replica count: bounds, when and how fast capacity is given back, what is kept ready, and forecasts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from forebay.api.meta import BOUNDED_DURATION, HistoryDuration, K8sModel, cel, format_duration, parse_duration, rules

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
            " minutes, or what it costs to start one again where that is longer: its start time, and more by objectives.missUsdPer1k, up"
            " to a hundred starts."
        ),
    ] = AUTO
    max_per_step: Annotated[
        PerStep,
        Field(
            description="Most replicas that are given back within two minutes: a number, or a percentage of those there were when the two"
            " minutes began, at least one."
        ),
    ] = "100%"


class ForecastMode(StrEnum):
    """What forecasts of demand are for."""

    AUTO = "Auto"
    REACTIVE = "Reactive"
    DISABLED = "Disabled"


class Forecasting(K8sModel):
    """How far demand is looked ahead of. A forecast may add replicas to what is measured, never take any."""

    mode: Annotated[
        ForecastMode,
        Field(
            description="Auto sizes by the forecast once it is learned, and by what is measured while its bounds do not hold;"
            " Reactive learns and shows it only; Disabled does neither."
        ),
    ] = ForecastMode.AUTO
    coverage: Annotated[
        float | None,
        Field(
            ge=0.5,
            le=0.99,
            description="Share of the time that demand is to stay under the forecast's upper bound. Where it is left out, what a miss costs"
            " against an idle replica decides (objectives.missUsdPer1k and usdPerHour), or it is 0.9 where either is unknown.",
        ),
    ] = None
    history: Annotated[
        HistoryDuration,
        Field(
            description="How far back the past is read where the operator has a Prometheus: for a class that is new to it, and for minutes"
            " that it missed. From 1h to 1440h."
        ),
    ] = 336 * 3600.0


class Scaling(K8sModel):
    """Bounds and pace of the replica count."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas: lower the first or raise the second")
        )
    )

    min_replicas: Annotated[
        int,
        Field(
            ge=0,
            le=10000,
            description="Fewest replicas, also when nothing is asked. `kubectl scale` moves it. At 0 the pool sleeps when it is not asked"
            " for long enough, and its gateways hold requests until its first replica is ready again.",
        ),
    ] = 1
    max_replicas: Annotated[int, Field(ge=1, le=10000, description="Most replicas, whatever is asked.")] = 10
    paused: Annotated[bool, Field(description="Hold everything as it is; status goes on being reported.")] = False
    scale_down: ScaleDown = ScaleDown()
    warm_standby: Annotated[
        Standby,
        Field(
            description="Replicas that are kept ready beyond what the load needs. Auto is what demand may rise by while a replica starts,"
            " beyond the forecast's own bound. With minReplicas 0 they are kept while the pool is awake, and sleep with it."
        ),
    ] = 0
    forecast: Forecasting = Forecasting()
