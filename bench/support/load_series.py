"""Loads over time: the recorded ones of the data folder, and generated ones whose law is known."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from forebay.runtime.errors import ForebayError

CLIENT_GROUPS = (("1", 0, 1), ("2-4", 1, 4), ("5-16", 4, 16), ("17+", 16, 100_000))
"""Clients by the rank of their volume."""
DAYS = 42
MEAN_RPS = 2.0


@dataclass(frozen=True, slots=True)
class Series:
    """Mean loads of steps of `step_s` seconds; `rates` are those of the law, where it is known."""

    name: str
    step_s: int
    values: Sequence[float]
    rates: Sequence[float] = ()


LEAST_STEPS = 30
"""A series of fewer has no half to be scored on."""

RATES, CLIENTS = "servegen/{model}_rate_10min.csv", "servegen/{model}_clients_10min.csv.gz"
AZURE, MOONCAKE = "azure_llm_2023/AzureLLMInferenceTrace_code.csv.gz", "mooncake/conversation_trace.jsonl.gz"
CASPER = "carbon_casper_aws/requests.csv"
MODELS = ("m-large", "deepseek-r1")


def recorded(folder: Path) -> Iterator[Series]:
    """Every load series of the data folder. Raises ForebayError where one is absent, which is known at once, or is no such trace."""
    of_models = [form.format(model=model) for model in MODELS for form in (RATES, CLIENTS)]
    for name in (*of_models, AZURE, MOONCAKE, CASPER):
        if not (folder / name).is_file():
            raise ForebayError(f"no recorded load at {folder / name}: name the folder of the traces with --data")
    for model in MODELS:
        yield from _long_enough(_servegen(folder, model), folder / RATES.format(model=model))
    yield from _long_enough(_by_minute("azure code", _azure(folder / AZURE)), folder / AZURE)
    yield from _long_enough(_by_minute("mooncake", _mooncake(folder / MOONCAKE)), folder / MOONCAKE)
    yield from _long_enough(_casper(folder / CASPER), folder / CASPER)


def _long_enough(found: Iterable[Series], path: Path) -> Iterator[Series]:
    for series in found:
        if len(series.values) < LEAST_STEPS:
            raise ForebayError(f"{path}: {series.name} has {len(series.values)} steps, and {LEAST_STEPS} are the fewest to score")
        yield series


class _Lines:
    """The lines of a file, and at which it is."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self.number = file, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self.number += 1
            yield line


@contextmanager
def _read(path: Path) -> Iterator[_Lines]:
    """Raises ForebayError, with the line, where what is in the file is not what should be."""
    lines = None
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines = _Lines(file)
            yield lines
    except KeyError as error:
        raise ForebayError(f"{path}, line 1: no column {error}") from error
    except (OSError, EOFError, zlib.error, ValueError, TypeError, IndexError, csv.Error) as error:
        at = f", line {lines.number}" if lines is not None and lines.number else ""
        raise ForebayError(f"{path}{at}: {getattr(error, 'strerror', None) or error}") from error


def _servegen(folder: Path, model: str) -> Iterator[Series]:
    with _read(folder / RATES.format(model=model)) as lines:
        total = [float(row["total_rate_rps"]) for row in csv.DictReader(lines)]
    yield Series(f"servegen {model}", 600, total)
    clients: dict[str, list[float]] = {}
    with _read(folder / CLIENTS.format(model=model)) as lines:
        for row in csv.DictReader(lines):
            clients.setdefault(row["client"], [0.0] * len(total))[int(float(row["ts_s"])) // 600] = float(row["rate_rps"])
    ranked = sorted(clients.values(), key=sum, reverse=True)
    for name, first, end in CLIENT_GROUPS:
        yield Series(f"servegen {model}, clients {name}", 600, [sum(rates) for rates in zip(*ranked[first:end], strict=True)])


_Requests = list[tuple[float, int, int]]


def _azure(path: Path) -> _Requests:
    with _read(path) as lines:
        return [
            (datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
            for row in csv.DictReader(lines)
        ]


def _mooncake(path: Path) -> _Requests:
    with _read(path) as lines:
        rows = map(json.loads, lines)
        return [(row["timestamp"] / 1000, row["input_length"], row["output_length"]) for row in rows]


def _by_minute(name: str, requests: _Requests) -> Iterator[Series]:
    """Requests and tokens per second, by whole minutes from the first request."""
    start, end = (requests[0][0], requests[-1][0]) if requests else (0.0, 0.0)
    sums = [[0.0, 0.0, 0.0] for _ in range(int((end - start) // 60))]
    for at, inputs, outputs in requests:
        minute = int((at - start) // 60)
        if minute < len(sums):
            for i, amount in enumerate((1, inputs, outputs)):
                sums[minute][i] += amount / 60
    for i, what in enumerate(("requests", "input tokens", "output tokens")):
        yield Series(f"{name}, {what}", 60, [minute[i] for minute in sums])


def _casper(path: Path) -> Iterator[Series]:
    with _read(path) as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: int(row["timestamp"]))
        if not rows:
            raise ValueError("there are no rows")
        regions = [name for name in rows[0] if name not in ("timestamp", "datetime")]
        found = [Series(f"casper {region}", 3600, [float(row[region]) for row in rows]) for region in regions]
    yield from found


KINDS = ("season", "weekend", "trend", "level shift", "bursts", "all of it")


def generated(kind: str, step_s: int = 60, days: int = DAYS, seed: int = 0) -> Series:
    """Poisson arrivals at about MEAN_RPS: a day with two peaks, slow noise of 8 %, and what the kind says.

    Weekends are at 55 %; the trend is 3 % a day; the level goes up 2.5 times in the fourth week and down 3.3 times in the fifth; bursts
    come four times a day, double the load or more, and fade within an hour.
    """
    chance = random.Random(f"{kind} {seed}")
    fade, hold = math.exp(-step_s / 1200), math.exp(-step_s / 6000)
    noise = 0.08 * math.sqrt(1 - hold * hold)
    slow = burst = 0.0
    rates, values = [], []
    for i in range(days * 86400 // step_s):
        slow = hold * slow + noise * chance.gauss(0, 1)
        burst *= fade
        if kind in ("bursts", "all of it") and chance.random() < 4 * step_s / 86400:
            burst += chance.paretovariate(2)
        rate = MEAN_RPS * math.exp(_log_rate(kind, i * step_s / 86400) + slow) * (1 + burst)
        rates.append(rate)
        values.append(_poisson(chance, rate * step_s) / step_s)
    return Series(f"generated, {kind}", step_s, values, rates)


def _log_rate(kind: str, day: float) -> float:
    rate = 0.0
    if kind != "trend":
        rate += 0.8 * math.sin(2 * math.pi * (day - 0.3)) + 0.25 * math.sin(4 * math.pi * day + 0.5)
    if kind in ("weekend", "all of it") and int(day) % 7 >= 5:
        rate -= 0.6
    if kind in ("trend", "all of it"):
        rate += 0.03 * day
    if kind in ("level shift", "all of it"):
        rate += 0.9 * (day >= 25) - 1.2 * (day >= 33)
    return rate


def _poisson(chance: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    count, product, enough = -1, 1.0, math.exp(-mean)
    while product > enough:
        product *= chance.random()
        count += 1
    return max(0, count)
