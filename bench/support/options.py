"""Options that several benches have. A bench names them in OPTIONS, and says its own in `add_arguments`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from forebay.cli.values import number, whole

Option = Callable[[argparse.ArgumentParser], object]
"""Adds itself to a parser."""

MOST, SEEDS = 100_000, 8


def seconds(parser: argparse.ArgumentParser) -> None:
    length = "length of one round of load (default: 1)"
    parser.add_argument("--seconds", type=number(0.01, 3600), default=1.0, metavar="S", help=length)


def rounds(parser: argparse.ArgumentParser) -> None:
    taken = "rounds, taken in turns; the median counts (default: 3)"
    parser.add_argument("--rounds", type=whole(1, MOST), default=3, metavar="N", help=taken)


def seeds(parser: argparse.ArgumentParser) -> None:
    runs = f"simulated runs that count, each with a seed of its own (default: {SEEDS}; of trace, where one takes minutes: 1)"
    parser.add_argument("--seeds", type=whole(1, MOST), default=None, metavar="N", help=runs)


def seeds_of(args: argparse.Namespace, default: int = SEEDS) -> int:
    """How many there are."""
    return int(args.seeds or default)


def price(parser: argparse.ArgumentParser) -> None:
    usd = "price of a GPU, for the column of dollars (default: none, and no dollars)"
    parser.add_argument("--usd-per-gpu-hour", type=number(0, 10_000), default=None, metavar="USD", help=usd)


def pools(parser: argparse.ArgumentParser) -> None:
    counts = "pools to plan or to keep (default: 100,1000)"
    parser.add_argument("--pools", type=_wholes, default=[100, 1000], metavar="N,N", help=counts)


def _wholes(text: str) -> list[int]:
    return [whole(1, MOST)(part) for part in text.split(",")]
