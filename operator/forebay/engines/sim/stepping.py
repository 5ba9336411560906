"""How long each step of a continuously batching model server takes, and who takes part in it. Pure: no clock and no network.

A server of this kind works in steps. In every step it computes the whole prompt of each request it has just admitted, and one token for
each request that was running already; each of them has one more token of output when the step ends. The time of a step is the model that
a pool's `profiles[].iteration` declares, so that a pool can be sized with the same figures that the simulator runs by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True)
class Profile:
    """Timing of one replica: seconds per step, per token computed, per token of context held; and how many requests run at once."""

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    max_concurrency: int

    def step_s(self, computed: int, context: int) -> float:
        """Seconds for a step that computes `computed` tokens while its requests hold `context` tokens."""
        return self.base_s + self.per_token_s * computed + self.per_kv_token_s * context

    def embedding_batch_s(self, tokens: int) -> float:
        """Seconds for one batch of texts that are `tokens` long together."""
        return self.base_s + self.per_token_s * tokens


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the batch. Lengths in tokens."""

    prompt_tokens: int
    output_tokens: int
    generated: int = 0

    @property
    def context(self) -> int:
        return self.prompt_tokens + self.generated

    @property
    def finished(self) -> bool:
        return self.generated >= self.output_tokens


S = TypeVar("S", bound=Sequence)


class Batch(Generic[S]):
    """Who waits and who runs, in order of arrival. `begin` and `end` enclose one step; `add` and `remove` may come at any time."""

    def __init__(self) -> None:
        self.waiting: dict[S, None] = {}
        self.running: dict[S, None] = {}
        self.context = 0
        """Tokens of context that the running requests hold together."""

    def __bool__(self) -> bool:
        return bool(self.running or self.waiting)

    def add(self, sequence: S) -> None:
        self.waiting[sequence] = None

    def remove(self, sequence: S) -> None:
        """Takes a request out, wherever it is; nothing happens when it has left already."""
        if sequence in self.running:
            del self.running[sequence]
            self.context -= sequence.context
        else:
            self.waiting.pop(sequence, None)

    def begin(self, profile: Profile) -> float:
        """Admits from the queue as far as the profile's concurrency allows and gives the seconds that this step takes."""
        computed = len(self.running)
        while self.waiting and len(self.running) < profile.max_concurrency:
            sequence = next(iter(self.waiting))
            del self.waiting[sequence]
            self.running[sequence] = None
            self.context += sequence.context
            computed += sequence.context
        return profile.step_s(computed, self.context)

    def end(self) -> list[S]:
        """Gives every running request one more token and returns them; those that have all their tokens leave the batch."""
        stepped = list(self.running)
        self.context += len(stepped)
        for sequence in stepped:
            sequence.generated += 1
            if sequence.finished:
                self.remove(sequence)
        return stepped
