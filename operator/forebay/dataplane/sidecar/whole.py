"""The engine's steps as whole answers show them, where no stream does: one of n tokens took n steps of whatever ran beside it.

What ran beside it is known by the time: requests, their prompts, those that joined. What each has generated of its answer is not, so it is
taken for what answers had at a random moment of theirs, the mean square of their lengths over twice their mean (renewal theory's mean age;
D. R. Cox, Renewal Theory, 1962, 5.2). Answers that overlap tell of the same steps, so the next one to count is one that began after the end
of the last. Nor does one count beside which the engine had more than it works on at once, for some of those waited in it.
"""

from __future__ import annotations

from math import inf

_KEPT = 0.99
# A request waits for the end of the step under way, which is little of so many; one that meets an idle engine does not.
_LEAST_TOKENS = 16


class Mark:
    """The sums when a request joined, and whether the engine had nothing else to do."""

    __slots__ = ("alone", "at", "held_s", "prompts", "running_s")

    def __init__(self, company: Company, alone: bool) -> None:
        self.at, self.alone = company.at, alone
        self.running_s, self.held_s, self.prompts = company.running_s, company.held_s, company.prompts


class Company:
    """What ran, summed over the time: requests and tokens of their prompts, both times seconds; and the prompts that joined, in tokens."""

    def __init__(self) -> None:
        self.at = 0.0
        self.running_s = self.held_s = self.prompts = 0.0
        self._unclear_at = -inf
        self._counted_until = -inf
        # Decaying sums of answers' tokens, and of their squares.
        self._tokens = self._squares = 0.0

    def until(self, now: float, running: int, held: float, *, clear: bool) -> None:
        """So many were in the engine up to now, with so many tokens of prompts together. What ran is `clear` where no stream
        was among them, nor one to be, and none waited.
        """
        self.running_s += running * (now - self.at)
        self.held_s += held * (now - self.at)
        self.at = now
        if not clear:
            self._unclear_at = now

    def steps(self, mark: Mark, prompt: float, input_tokens: int, output_tokens: int) -> tuple[float, float, float, float] | None:
        """Seconds, steps, and sums over the steps of tokens and context, of an answer that ends now and began at the mark.

        `prompt` is what its prompt was taken for meanwhile. None where it tells nothing that is not known better.
        """
        self._tokens = _KEPT * self._tokens + output_tokens
        self._squares = _KEPT * self._squares + output_tokens**2
        seconds = self.at - mark.at
        if mark.at < self._counted_until or mark.at <= self._unclear_at or seconds <= 0.0:
            return None
        if not output_tokens or (output_tokens < _LEAST_TOKENS and not mark.alone):
            return None
        self._counted_until = self.at
        running, more = (self.running_s - mark.running_s) / seconds, input_tokens - prompt
        tokens = running * output_tokens + self.prompts - mark.prompts + more
        generated = output_tokens / 2 + max(0.0, running - 1.0) * self._squares / (2.0 * self._tokens)
        context = (self.held_s - mark.held_s) / seconds + more + generated
        return seconds, float(output_tokens), max(tokens, 0.0), max(context, 0.0) * output_tokens
