"""The engine's steps as its streams show them, for the operator to learn the engine's speed from.

All requests that run get one token each with every step. So of n streams that are read, each token is the nth part of a step, and all
the time between tokens is the steps': no clock of the engine's own is needed. Beside it is counted what was in those steps: a token for
each request that runs, the prompts that were computed between, the context that all of them hold. Every half second of steps is one
observation. Time in which no stream is read is not counted, but for a prompt that meets an idle engine: its first token is one step; and
where there are no streams at all, answers that come at once are counted as a whole (whole.py).

Lengths are known from an answer's usage, at its end. Until then a prompt is estimated by its bytes and an event as so many tokens as
they were on average in the answers before.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from forebay.api.step_moments import NOTHING, TERMS, observe
from forebay.dataplane.sidecar.sse import Usage
from forebay.dataplane.sidecar.terms import of_terms
from forebay.dataplane.sidecar.whole import Company, Mark

_WINDOW_S = 0.5
_LEAST_STEPS = 4.0
# What is read within so short a time, or within this share of a mean step, comes from one step: its streams are read one after another.
_SAME_STEP_S = 0.002
_SAME_STEP_SHARE = 0.35
# A mean step longer than this is an engine that hangs.
_MOST_S = 60.0
# Lengths beyond any context would spoil the means for long.
_MOST_TOKENS = 10**7
_KEPT = 0.99
_NAME = "forebay_sidecar_step_moments"
_HELP = (
    "Sums over observations of the engine's mean step (seconds, tokens computed in it, tokens of context held), by which products: the"
    " operator fits the profile to them."
)


class Part:
    """What one request takes part in, from being sent to its end; `size` is its body's bytes."""

    __slots__ = ("_dispatched", "_events", "_in_engine", "_joined", "_prompt", "_running", "_size", "_steps", "_streams", "_whole")

    def __init__(self, steps: Steps, size: int) -> None:
        self._steps = steps
        self._size = size
        self._dispatched = 0.0
        self._events = 0
        self._prompt = 0.0
        self._joined = 0.0
        self._in_engine = self._running = self._streams = 0
        self._whole: Mark | None = None

    def sent(self, now: float) -> None:
        """The engine has it."""
        steps = self._steps
        steps.until(now)
        self._dispatched = now
        self._in_engine = 1
        steps.in_engine += 1
        steps.alone = steps.in_engine == 1

    def unseen(self) -> None:
        """Its answer comes at once, at its end: until then it is company in the steps of others. Said when it is sent."""
        self._whole = Mark(self._steps.company, self._steps.alone)
        self._join()

    def tokens(self, events: int, now: float) -> None:
        """Events with tokens were read together."""
        steps = self._steps
        self._events += events
        if self._streams:
            steps.tokens(events, now)
            return
        steps.until(now)
        self._join()
        self._streams = 1
        idle = steps.alone and steps.in_engine == 1
        steps.first_token(self._prompt, now, now - self._dispatched if idle else None)

    def _join(self) -> None:
        steps = self._steps
        self._running = 1
        self._prompt, self._joined = steps.prompt_of(self._size), steps.made
        steps.running += 1
        steps.prompts += self._prompt
        steps.joined += self._joined
        steps.company.prompts += self._prompt

    def ended(self, usage: Usage | None, now: float) -> None:
        """It has all its tokens, or is given up. Its lengths are known where the engine has told of them."""
        steps = self._steps
        steps.until(now)
        if self._whole is not None and usage is not None and usage.choices == 1:
            steps.whole(self._whole, self._prompt, usage)
        steps.in_engine -= self._in_engine
        steps.running -= self._running
        steps.streams -= self._streams
        steps.prompts -= self._prompt
        steps.joined -= self._joined
        if not steps.running:
            # Sums of many numbers, added and taken off again, are not quite nothing.
            steps.prompts = steps.joined = 0.0
        if usage is not None:
            steps.measured(self._size, self._events, usage)


class Steps(Collector):
    """What was seen of one engine since the start. Times are those of one monotonic clock, which the caller reads."""

    def __init__(self) -> None:
        self.sums = [*NOTHING]
        self.in_engine = 0
        # What the engine works on at once, where that is known: of more some wait in it.
        self.most: int | None = None
        self.alone = False
        # Of those that run: how many, how many of them are streams, their prompts together, and the steps made when each joined.
        self.running = self.streams = 0
        self.prompts = self.joined = 0.0
        self.made = 0.0
        self.company = Company()
        # Up to when time is counted, and since when without a gap.
        self._at = self._since = 0.0
        # The step that is read of: when its end was read first, how many streams show it, how many ran in it and what they held.
        self._step_at, self._same_s = 0.0, _SAME_STEP_S
        self._of, self._running, self._held = 1, 0, 0.0
        self._batch_ended = 0.0
        # The window: seconds, steps, and sums over its steps of tokens and context.
        self._window_s = self._window_steps = self._tokens = self._context = 0.0
        # Means over the last answers, by decaying sums; at first four bytes and one event are a token.
        self._bytes, self._bytes_tokens = 4000.0, 1000.0
        self._events, self._events_tokens = 100.0, 100.0

    def part(self, size: int) -> Part:
        """A request whose body has so many bytes."""
        return Part(self, size)

    def prompt_of(self, size: int) -> float:
        """About how many tokens such a prompt has."""
        return size * self._bytes_tokens / self._bytes

    def until(self, now: float) -> None:
        """Who runs has run up to now: said before that changes."""
        waits = self.most is not None and self.in_engine > self.most
        self.company.until(now, self.running, self.prompts, clear=not (self.streams or self.in_engine > self.running or waits))

    def whole(self, mark: Mark, prompt: float, usage: Usage) -> None:
        """An answer that came at once has ended."""
        if (seen := self.company.steps(mark, prompt, usage.input_tokens, usage.output_tokens)) is not None:
            seconds, steps, tokens, context = seen
            self._window_s += seconds
            self._window_steps += steps
            self._tokens += tokens
            self._context += context
            self._end_window_if_full()

    def first_token(self, prompt: float, now: float, alone_s: float | None) -> None:
        """The step that has just ended computed a prompt; in `alone_s` where the engine had nothing else to do."""
        if self.streams:
            self._read(now)
            if now - self._since > self._same_s:
                self._tokens += prompt
                self._context += prompt
        else:
            self._end_window_if_full()
            self._at = self._step_at = self._since = now
            if alone_s is not None:
                self._window_s += alone_s
                self._window_steps += 1.0
                self._tokens += prompt
                self._context += prompt
        self.streams += 1

    def tokens(self, events: int, now: float) -> None:
        """Events with tokens of one stream, after its first, were read together."""
        self._read(now)
        steps = events * self._events_tokens / (self._events * self._of)
        self.made += steps
        self._window_steps += steps
        self._tokens += steps * self._running
        self._context += steps * self._held

    def _read(self, now: float) -> None:
        """Something was read, of a step that others were read of already, or of the next one, in which all who run now took part."""
        if now - self._step_at > self._same_s:
            # Not amid the reads of one step: its time would be in this window and its tokens in the next.
            self._end_window_if_full()
            self._step_at = now
            self._of, self._running = max(1, self.streams), self.running
            self._held = self.prompts + self.running * self.made - self.joined
        self._window_s += now - self._at
        self._at = now

    def _end_window_if_full(self) -> None:
        steps = self._window_steps
        if self._window_s < _WINDOW_S or steps < _LEAST_STEPS:
            return
        self._same_s = max(_SAME_STEP_S, _SAME_STEP_SHARE * self._window_s / steps)
        if self._window_s <= _MOST_S * steps:
            observe(self.sums, self._window_s / steps, self._tokens / steps, self._context / steps)
        self._window_s = self._window_steps = self._tokens = self._context = 0.0

    def batch(self, began: float, now: float, tokens: int) -> None:
        """A batch of inputs was answered. The next one may be on its way meanwhile, so its time begins when the one before has ended."""
        seconds, self._batch_ended = now - max(began, self._batch_ended), now
        if tokens > 0 and 0.0 < seconds <= _MOST_S:
            observe(self.sums, seconds, tokens, 0.0)

    def measured(self, size: int, events: int, usage: Usage) -> None:
        """An answer's lengths as the engine counted them, its body's bytes, and its events where it was a stream."""
        if not 0 < usage.input_tokens <= _MOST_TOKENS or usage.output_tokens > _MOST_TOKENS:
            return
        self._bytes = _KEPT * self._bytes + size
        self._bytes_tokens = _KEPT * self._bytes_tokens + usage.input_tokens
        if events and usage.output_tokens:
            self._events = _KEPT * self._events + events
            self._events_tokens = _KEPT * self._events_tokens + usage.output_tokens

    def describe(self) -> Iterator[Metric]:
        yield of_terms(_NAME, _HELP)

    def collect(self) -> Iterator[Metric]:
        yield of_terms(_NAME, _HELP, TERMS, self.sums)
