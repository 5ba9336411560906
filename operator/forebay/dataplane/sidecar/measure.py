"""What is measured of one request, from its arrival at the sidecar to its last byte."""

from __future__ import annotations

from forebay.dataplane.sidecar.config import E2E, ITL, TTFT
from forebay.dataplane.sidecar.limit import Limiter
from forebay.dataplane.sidecar.metrics import Outcome
from forebay.dataplane.sidecar.prompting import Prompt
from forebay.dataplane.sidecar.queues import Lane
from forebay.dataplane.sidecar.sse import Usage
from forebay.dataplane.sidecar.steps import Part

# A stream shows the limiter its pace this often; waiting for its end would show it too late.
_SEGMENT_S = 0.25


class Measure:
    """One request. Every method takes the time of the monotonic clock: the event loop's own stands still within a turn.

    `limiter` and `part` are told what was seen of the engine; None where that is seen better elsewhere.
    """

    __slots__ = (
        "_counted", "_first", "_last", "_limiter", "_part", "_prompt", "_segment_began", "_segment_tokens", "arrived", "dispatched", "lane",
    )  # fmt: skip

    def __init__(self, lane: Lane, limiter: Limiter | None, now: float, part: Part | None = None) -> None:
        self.lane = lane
        self.arrived = now
        self.dispatched = 0.0
        self._limiter = limiter
        self._part = part
        self._prompt: Prompt | None = None
        self._first = 0.0
        self._last = 0.0
        self._segment_began = 0.0
        self._segment_tokens = 0
        self._counted = False

    def streams(self, prompt: Prompt) -> None:
        """Its answer will come token by token."""
        self._prompt = prompt

    def sent(self, now: float) -> None:
        """The engine has it now."""
        self.dispatched = now
        self.lane.metrics.queue_wait.observe(now - self.arrived)
        if self._part is not None:
            self._part.sent(now)

    def unseen(self) -> None:
        """Its tokens will not be seen one by one."""
        if self._part is not None:
            self._part.unseen()

    def tokens(self, events: int, now: float) -> None:
        """Events with tokens were read together."""
        if self._part is not None:
            self._part.tokens(events, now)
        if not self._first:
            self._first = self._last = self._segment_began = now
            self._saw_first(now)
            return
        self._last = now
        self._segment_tokens += events
        if now - self._segment_began >= _SEGMENT_S:
            self._end_segment(now)

    def answered_at_once(self, now: float) -> None:
        """The whole answer of something that has no tokens to stream: its first token is its last."""
        if not self._first:
            self._first = self._last = now
            self._saw_first(now)

    def finish(self, outcome: Outcome, usage: Usage | None, now: float) -> None:
        """Counts the request, once. `usage` is None where the engine reported none."""
        if self._counted:
            return
        self._counted = True
        if self._prompt is not None:
            self._prompt.close()
        if self._part is not None:
            self._part.ended(usage, now)
        metrics = self.lane.metrics
        metrics.outcomes[outcome].inc()
        if usage is not None:
            metrics.input_tokens.inc(usage.input_tokens)
            metrics.output_tokens.inc(usage.output_tokens)
            metrics.input_tokens_squared.inc(usage.input_tokens**2)
            metrics.output_tokens_squared.inc(usage.output_tokens**2)
        if outcome is Outcome.OK:
            self._finish_well(usage, now)
        elif outcome in (Outcome.CANCELLED, Outcome.BROKEN_STREAM) and not self._first:
            # Who gave up before the first token did not see it in time, if it was due.
            objective = self.lane.config.objectives.get(TTFT)
            if objective is not None and now - self.arrived > objective.target_s:
                metrics.objectives[TTFT, False].inc()

    def _finish_well(self, usage: Usage | None, now: float) -> None:
        metrics = self.lane.metrics
        metrics.duration.observe(now - self.arrived)
        self._judge(E2E, now - self.arrived)
        self._show(E2E, now - self.dispatched, self.dispatched)
        if self._segment_tokens:
            self._end_segment(now)
        if usage is None:
            metrics.usage_missing.inc()
            return
        count = usage.output_tokens
        if count < 2:
            return
        per_token = (self._last - self._first) / (count - 1) if self._first else (now - self.dispatched) / count
        metrics.time_per_output_token.observe(per_token)
        self._judge(ITL, per_token)
        if not self._first:
            self._show(ITL, per_token, self.dispatched)

    def _saw_first(self, now: float) -> None:
        if self._prompt is not None:
            self._prompt.close()
        self.lane.metrics.time_to_first_token.observe(now - self.arrived)
        self._judge(TTFT, now - self.arrived)
        self._show(TTFT, now - self.dispatched, self.dispatched)

    def _end_segment(self, now: float) -> None:
        seconds = (now - self._segment_began) / self._segment_tokens
        self._show(ITL, seconds, self._segment_began)
        self._segment_began = now
        self._segment_tokens = 0

    def _show(self, name: str, seconds: float, began: float) -> None:
        if self._limiter is not None:
            self._limiter.observe(self.lane.config.name, name, seconds, began)

    def _judge(self, name: str, seconds: float) -> None:
        objective = self.lane.config.objectives.get(name)
        if objective is not None:
            self.lane.metrics.objectives[name, seconds <= objective.target_s].inc()
