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

NAMES = ("hpa", "kpa", "llmd", "wva", "dynamo", "sageserve", "static:N")


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
    """A law's name, if there is such a law. Raises UsageError."""
    number = name.removeprefix("static:")
    if name in NAMES[:-1] or (number != name and number.isdecimal() and 1 <= int(number) <= 10_000):
        return name
    raise UsageError(f"there is no law {name!r}: there are {', '.join(NAMES)}")


def shipped(name: str, known: Known) -> Law:
    """A law as it is shipped. Raises UsageError."""
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
