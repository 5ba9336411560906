"""Whether requests are sent where a prompt waits or is computed: sums that tell a router which spares prompts from one that does not.

A prompt is open from its arrival at a replica to its answer's first token. A router that pays no heed to prompts sends a request where one
is open as often as one is open at all, since arrivals see time averages (R. W. Wolff, 1982); one that does sends it elsewhere while
it can. Only answers that are streamed show when their prompts have been computed, so only those are counted. Needs nothing but the
standard library.
"""

from __future__ import annotations

TERMS = ("arrivals", "met", "open_seconds", "seconds")
"""Prompts that arrived, those of them that met another one, for how long any was open, and how long was watched."""

NOTHING = (0.0,) * len(TERMS)


class Prompting:
    """The prompts of one replica. Every method takes the time of one monotonic clock, in seconds."""

    __slots__ = ("_arrivals", "_changed_at", "_met", "_open", "_open_s", "_since")

    def __init__(self, now: float) -> None:
        self._open = 0
        self.clear(now)

    def clear(self, now: float) -> None:
        """Sums begin anew; what is open stays so."""
        self._arrivals = self._met = 0
        self._open_s, self._since, self._changed_at = 0.0, now, now

    def arrive(self, now: float) -> None:
        self._pass(now)
        self._arrivals += 1
        self._met += self._open > 0
        self._open += 1

    def close(self, now: float, count: int = 1) -> None:
        """So many have their first token, or are given up."""
        self._pass(now)
        self._open -= count

    def sums(self, now: float) -> tuple[float, float, float, float]:
        """Since the beginning, in the order of TERMS."""
        self._pass(now)
        return float(self._arrivals), float(self._met), self._open_s, now - self._since

    def _pass(self, now: float) -> None:
        if self._open:
            self._open_s += now - self._changed_at
        self._changed_at = now
