"""An embeddings server behind its sidecar, on a virtual clock: batches formed as dataplane/sidecar/batcher.py forms them.

A batch goes out when it is full, when its first request has waited for the window, or at once where nobody is expected within it; and only
while fewer than two are out, of which the engine computes one. A batch takes base + perToken × tokens seconds; it is padded to its longest
input, as `forebay engine embeddings` pads it. A request is one input. An adaptive limit is taken at its ceiling, maxBatchSize.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from forebay.api.batch_class import Batching, BatchingMode
from forebay.api.step_moments import observe
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request

BATCHES_OUT = 2
"""One is computed while the next one is on its way."""

_GAP_MEMORY = 0.8
_INSTANT_S = 1e-9


class BatchingReplica(Replica):
    """One such server, otherwise made like any other. `batching` by class; without one a request is sent at once and alone."""

    __slots__ = ("_batching", "_ends_at", "_gap_s", "_last_arrival", "_line", "_out")

    def __init__(self, *made: Any, batching: Mapping[str, Batching]) -> None:
        super().__init__(*made)
        self._batching = batching
        self._line: deque[Request] = deque()
        self._out: deque[list[Request]] = deque()
        self._ends_at = inf
        self._gap_s, self._last_arrival = 60.0, self.ready_at

    @property
    def in_flight(self) -> int:
        return len(self._line) + sum(map(len, self._out))

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def those_waiting(self) -> Iterable[Request]:
        return self._line

    def those_running(self) -> list[Request]:
        return [request for batch in self._out for request in batch]

    def take(self, request: Request, now: float) -> None:
        """A request arrives."""
        self._gap_s = _GAP_MEMORY * self._gap_s + (1.0 - _GAP_MEMORY) * (now - self._last_arrival)
        self._last_arrival = now
        self._line.append(request)
        self.prompt_tokens += request.input_tokens
        self._form(now)

    def lose_all(self) -> list[Request]:
        """The server is gone: what it had, whose answers are lost."""
        lost = [*self._line, *self.those_running()]
        self._line.clear()
        self._out.clear()
        self.prompt_tokens, self._ends_at, self.next_at = 0, inf, inf
        return lost

    def advance(self, now: float) -> list[Request]:
        """Ends what ends now; answers the requests that are done."""
        self.started = []
        if self._out and self._ends_at <= now:
            self.started = self._out.popleft()
            observe(self.moments, self._batch_s(self.started), sum(request.input_tokens for request in self.started), 0.0)
            for request in self.started:
                request.first_token = request.finished = now
                self.prompt_tokens -= request.input_tokens
            self._compute(now)
        self._form(now)
        return list(self.started)

    def _compute(self, now: float) -> None:
        """The engine begins the next batch that is out, if there is one."""
        self._ends_at = now + self._batch_s(self._out[0]) if self._out else inf

    def _batch_s(self, batch: list[Request]) -> float:
        padded = len(batch) * max(request.input_tokens for request in batch)
        return max(self._profile.base_s + self._profile.per_token_s * padded, _INSTANT_S)

    def _form(self, now: float) -> None:
        """Sends what is to be sent, and says when to look again."""
        look_at = inf
        while self._line and len(self._out) < BATCHES_OUT:
            first = self._line[0]
            if first.gives_up_at < now:
                self.prompt_tokens -= first.input_tokens
                self.refused.append(self._line.popleft())
                continue
            look_at = self._sent_at(first)
            if look_at > now:
                break
            look_at = inf
            self._out.append(self._batch(first))
            if len(self._out) == 1:
                self._compute(now)
        self.next_at = min(self._ends_at, look_at)

    def _sent_at(self, first: Request) -> float:
        """When a batch that begins with this request goes out at the latest."""
        config = self._batching.get(first.batch_class)
        if config is None or config.mode is BatchingMode.DISABLED or len(self._line) >= config.max_batch_size:
            return first.arrived
        if config.mode is BatchingMode.ADAPTIVE and self._gap_s > config.window:
            return first.arrived
        return first.arrived + config.window

    def _batch(self, first: Request) -> list[Request]:
        """The first one and those behind it that fit. All ask for the same model in the same way."""
        config = self._batching.get(first.batch_class)
        alone = config is None or config.mode is BatchingMode.DISABLED
        most, tokens = (1, first.input_tokens) if config is None or alone else (config.max_batch_size, config.max_batch_tokens)
        batch: list[Request] = []
        left: deque[Request] = deque()
        for request in self._line:
            if len(batch) < most and (not batch or request.input_tokens <= tokens):
                tokens -= request.input_tokens
                batch.append(request)
            else:
                left.append(request)
        self._line = left
        return batch
