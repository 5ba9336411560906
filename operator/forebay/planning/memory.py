"""What the planner carries from one decision about a pool to the next."""

from __future__ import annotations

from typing import Literal, TypeVar

from forebay.api.meta import K8sModel
from forebay.planning.forecast.state import ForecastState
from forebay.planning.measured import StepMoments

_Model = TypeVar("_Model", bound=K8sModel)
Stage = Literal["node", "image", "load", "weights", "warmUp", "ready"]


class DemandPoint(K8sModel):
    """One measured moment, kept for the trend."""

    at: float
    requests_per_s: float


class Shape(K8sModel):
    """Tokens of a request: their means, their squared coefficients of variation, and how many requests the latter were seen on."""

    input_tokens: float
    output_tokens: float
    input_cv2: float = 0.0
    output_cv2: float = 0.0
    seen: float = 0.0


class ClassForecast(K8sModel):
    """What was learned of one class's load: prefill and decode, in tokens per second."""

    input_tokens: ForecastState
    output_tokens: ForecastState
    read_s: float | None = None
    """How long a past was read of it from a store of metrics; None where none has answered yet."""


class Spread(K8sModel):
    """An average of something random, and how many seconds of samples are in it."""

    value: float
    seconds: float


class Sparing(K8sModel):
    """Of streamed requests, over about an hour: how many would have met a prompt by chance that need not, and how many of them did not.
    `at` is when the last of what is counted was measured.
    """

    avoidable: float = 0.0
    avoided: float = 0.0
    at: float = 0.0


class Clumping(Spread):
    """An index of dispersion of counts, and the mean rate at which it was seen; 0 where that is not known."""

    requests_per_s: float = 0.0


class Saturation(K8sModel):
    """So many replicas have no place left and requests wait, since then; `finished_per_s` is the most that each has finished meanwhile."""

    since: float
    replicas: int
    finished_per_s: float = 0.0


class TunedProfile(K8sModel):
    """What was learned of a profile: its three times, the covariance of their logarithms, and the sums that they were fitted to.

    `rejected` measurements in a row did not fit; `at` is when the last one did, `looked_at` when the last one was looked at.
    """

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    covariance: tuple[tuple[float, ...], ...]
    moments: StepMoments
    rejected: int = 0
    at: float
    looked_at: float


class Recommendation(K8sModel):
    """How many replicas were wanted at a moment."""

    at: float
    replicas: int


class Unavailable(K8sModel):
    """A variant whose nodes did not come, for so many times in a row: it is not asked for until then."""

    since: float
    until: float
    times: int = 1
    reason: str = ""


class Partitioning(K8sModel):
    """Progress of one node's change of layout."""

    config: str
    phase: Literal["Draining", "Applying", "Failed", "Stuck"]
    since: float


class Rest(K8sModel):
    """Since when nobody asks (None while somebody does, or it is not known), and how long earlier pauses were, seconds. `unready_since` is
    when replicas were first asked for of which none is ready yet. `wakes` are earlier ones from sleep, `waiting` one that is under way: the
    most requests of each class that gateways held for it.
    """

    idle_since: float | None = None
    pauses_s: tuple[float, ...] = ()
    unready_since: float | None = None
    wakes: tuple[dict[str, int], ...] = ()
    waiting: dict[str, int] = {}


class Memory(K8sModel):
    """What the planner carries from one decision to the next; persisted over restarts.

    `target` is the count that was decided, or what a pause has kept; `mix` of which kinds, `placed` what the limits let through of it,
    `step` when replicas began to be given back and how many there were then. `recommendations` would do if nothing waited, `surges` are
    with what is to drain queues. `dispersion` is that of each class's arrivals, `router` how evenly requests are shared out
    (planning/burstiness.py), `sparing` how rarely they meet prompts. `starts` holds seconds by variant and stage, `start_times_s` those of
    all variants together. At `partly_at` it was last not known what all replicas together are asked for. It was
    looked at the pool without a break since `looking_since`, at `looked_at` last.
    """

    history: dict[str, tuple[DemandPoint, ...]] = {}
    shapes: dict[str, Shape] = {}
    forecasts: dict[str, ClassForecast] = {}
    dispersion: dict[str, Clumping] = {}
    router: Spread | None = None
    sparing: Sparing | None = None
    saturation: Saturation | None = None
    throughput_shares: dict[str, float] = {}
    profiles: dict[str, TunedProfile] = {}
    recommendations: tuple[Recommendation, ...] = ()
    surges: tuple[Recommendation, ...] = ()
    observed_since: float | None = None
    step: Recommendation | None = None
    start_times_s: tuple[float, ...] = ()
    starts: dict[str, dict[Stage, tuple[float, ...]]] = {}
    started_pods: tuple[str, ...] = ()
    loaded_at: dict[str, float] = {}
    unavailable: dict[str, Unavailable] = {}
    partly_at: float = 0.0
    looked_at: float = 0.0
    looking_since: float | None = None
    spot_hold_until: float = 0.0
    target: int = 0
    placed: int = 0
    mix: dict[str, int] = {}
    better_since: float | None = None
    partitioning: dict[str, Partitioning] = {}
    rest: Rest | None = None


def earlier(memory: Memory, by_s: float) -> Memory:
    """The memory as of a clock that was set back by so many seconds: what was a moment ago is again, and not in time to come."""
    rest, queue = memory.rest, memory.saturation
    return memory.model_copy(
        update={
            "rest": rest and _set_back(rest, by_s, "idle_since", "unready_since"),
            "saturation": queue and _set_back(queue, by_s, "since"),
            "profiles": {name: _set_back(known, by_s, "at", "looked_at") for name, known in memory.profiles.items()},
            "partitioning": {name: _set_back(known, by_s, "since") for name, known in memory.partitioning.items()},
            "unavailable": {name: _set_back(known, by_s, "since", "until") for name, known in memory.unavailable.items()},
            "partly_at": max(0.0, memory.partly_at - by_s),
            "spot_hold_until": max(0.0, memory.spot_hold_until - by_s),
        }
    )


def _set_back(known: _Model, by_s: float, *moments: str) -> _Model:
    return known.model_copy(update={name: at - by_s for name in moments if (at := getattr(known, name)) is not None})
