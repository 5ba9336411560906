"""Laws by name with the settings that they are shipped with, for a comparison on one's own workload."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.planning.work import EngineProfile
from forebay.runtime.errors import UsageError
from forebay.simulation.law import Law
from forebay.simulation.laws.capacity import most_rps
from forebay.simulation.laws.dynamo import Dynamo
from forebay.simulation.laws.hpa import Hpa
from forebay.simulation.laws.kpa import Kpa
from forebay.simulation.laws.llmd import Llmd
from forebay.simulation.laws.sageserve import SageServe
from forebay.simulation.laws.static import Static
from forebay.simulation.laws.wva import Wva
from forebay.simulation.score import Objective

CLAIRVOYANT = "clairvoyant"
"""No law but a bound (laws/clairvoyant.py): it has no setting that it is shipped with, and is searched."""

PEERS = ("hpa", "kpa", "llmd", "wva", "dynamo", "sageserve")
NAMES = (*PEERS, "static:N", CLAIRVOYANT)


@dataclass(frozen=True, slots=True)
class Known:
    """What some laws are told: the engine, the objective, and mean tokens of a request."""

    engine: EngineProfile
    objective: Objective
    input_tokens: float
    output_tokens: float

    @property
    def cache_tokens(self) -> float:
        """Places are what limits a simulated engine: its cache holds as many whole requests."""
        return self.engine.max_concurrency * (self.input_tokens + self.output_tokens)


def check(name: str) -> str:
    """A law's name as it is told, if there is such a law. Raises UsageError."""
    if name in (*PEERS, CLAIRVOYANT):
        return name
    number = name.removeprefix("static:")
    if number != name and number.isascii() and number.isdecimal() and 1 <= int(number) <= 10_000:
        return f"static:{int(number)}"
    raise UsageError(f"there is no law {name!r}: there are {', '.join(NAMES)}")


def shipped(name: str, known: Known) -> Law:
    """A law of PEERS or a static one, as it is shipped. Raises UsageError."""
    match check(name):
        case "hpa":
            return Hpa()
        case "kpa":
            return Kpa()
        case "llmd":
            return Llmd(known.objective, known.engine)
        case "wva":
            return Wva(known.cache_tokens, sequences=known.engine.max_concurrency)
        case "dynamo":
            return Dynamo(known.engine, known.objective, known.cache_tokens)
        case "sageserve":
            most = most_rps(known.engine, known.input_tokens, known.output_tokens, known.objective)
            return SageServe(most, known.cache_tokens)
    return Static(int(name.removeprefix("static:")))
