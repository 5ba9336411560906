"""Streams whose prompts wait or are computed here, counted for the operator: whether the router spares them (api/prompting.py)."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from forebay.api.prompting import TERMS, Prompting
from forebay.dataplane.sidecar.terms import of_terms

_NAME = "forebay_sidecar_prompting"
_HELP = (
    "Streamed requests that arrived, those that found another one whose first token had not come, for how long there was any such, and how"
    " long was watched: whether the router spares prompts."
)


class Prompt:
    """One of them."""

    __slots__ = ("_of",)

    def __init__(self, of: Prompting) -> None:
        self._of: Prompting | None = of
        of.arrive(monotonic())

    def close(self) -> None:
        """Its first token is here, or it is given up. Nothing happens the second time."""
        if self._of is not None:
            self._of.close(monotonic())
            self._of = None


class PromptCounts(Collector):
    """The sums as a metric."""

    def __init__(self) -> None:
        self._prompting = Prompting(monotonic())

    def arrive(self) -> Prompt:
        """A streamed request arrives."""
        return Prompt(self._prompting)

    def collect(self) -> Iterator[Metric]:
        yield of_terms(_NAME, _HELP, TERMS, self._prompting.sums(monotonic()))

    def describe(self) -> Iterator[Metric]:
        yield of_terms(_NAME, _HELP)
