"""What was measured of one pool: its demand now, what gateways hold for it, and what a store of metrics knows of its past."""

from __future__ import annotations

from forebay.api.meta import K8sModel
from forebay.planning.forecast.codes import Packed


class ClassDemand(K8sModel):
    """What the sidecars of a pool measured for one class, as rates over the window.

    Tokens are of requests that were answered; those that arrived are estimated by the bytes of their prompts.
    """

    requests_per_s: float = 0.0
    arrived_input_tokens_per_s: float = 0.0
    completed_per_s: float = 0.0
    input_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    input_tokens_squared_per_s: float = 0.0
    output_tokens_squared_per_s: float = 0.0
    queued: float = 0.0
    in_flight: float = 0.0
    p95_time_to_first_token_s: float | None = None
    objectives_met: float | None = None


class StepMoments(K8sModel):
    """Sums over observations of a replica's mean step: its seconds, the tokens computed in it, the tokens of context held."""

    count: float = 0.0
    tokens: float = 0.0
    context: float = 0.0
    tokens_tokens: float = 0.0
    tokens_context: float = 0.0
    context_context: float = 0.0
    seconds: float = 0.0
    seconds_tokens: float = 0.0
    seconds_context: float = 0.0
    seconds_seconds: float = 0.0


class PromptMeetings(K8sModel):
    """Sums over the pool's replicas (api/prompting.py): streamed prompts that arrived, those that met another one, and replicas' seconds:
    those in which a prompt was open, and all."""

    arrivals: float = 0.0
    met: float = 0.0
    open_seconds: float = 0.0
    seconds: float = 0.0


class Demand(K8sModel):
    """What is asked of the pool. No demand at all (None in the snapshot) is not zero demand.

    `in_flight_variance` is the variance between replicas of the requests that each has, waiting ones included.
    `unheard` are ready replicas of which it is not known what they were asked for over the window, though others are measured.
    `strangers` are replicas that report as if they were the pool's, and are left out; where they are not `told_apart`, nothing is believed.
    `wrong` says what was left out of it, or why nothing newer is known. It was measured over `window_s`, 0 where there is nothing yet.
    `steps` are what its replicas' steps took over the window, by variant; of variants that cannot be told apart, under an empty name.
    `prompting` says where streamed prompts were sent over the window; None where no replica tells.
    """

    measured_at: float
    window_s: float
    source: str
    replicas_reporting: int
    unheard: int = 0
    in_flight_variance: float | None = None
    strangers: int = 0
    told_apart: bool = True
    wrong: tuple[str, ...] = ()
    classes: dict[str, ClassDemand] = {}
    config_hashes: dict[str, int] = {}
    steps: dict[str, StepMoments] = {}
    prompting: PromptMeetings | None = None


class AtGateways(K8sModel):
    """What the gateway replicas that route to the pool say: how many were asked and answered, and the requests they hold for it, by class.

    `routed` says that some policy's gateway routes to the pool, whether it runs or not; `passed_over` that other pools of a rule answer in
    this one's turn, for it has no replica.
    """

    routed: bool = False
    asked: int = 0
    answered: int = 0
    held: dict[str, int] = {}
    passed_over: bool = False


class MeasuredPast(K8sModel):
    """Rates of one class in steps of `step_s` seconds from `start`, each a mean over its step, packed as `codes` has it.

    `requests` arrived, `completed` were answered; tokens are of the latter. A step of which nothing is known is MISSING, not zero.
    """

    start: float
    step_s: float
    requests: Packed
    completed: Packed
    input_tokens: Packed
    output_tokens: Packed


class ClassHistory(K8sModel):
    """What a store of metrics knows of one class since then, which was asked for; the finest steps last."""

    since: float
    source: str
    parts: tuple[MeasuredPast, ...] = ()
