"""`python -m bench`: runs one bench or all, and prints a table or one line of JSON for each."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import bench
from bench.support.table import table
from forebay.runtime.errors import ForebayError, UsageError

PEERS = ("nginx", "litellm")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def names() -> list[str]:
    """Every bench there is; a module's file name has `_` where the bench's name has `-`."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(bench.__path__) if not m.ispkg and m.name != "__main__")


def module_of(name: str) -> ModuleType:
    """The module of a bench that exists."""
    return importlib.import_module(f"bench.{name.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a bench could not run, 64 wrong usage."""
    try:
        args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
        if args.list:
            for name in names():
                print(f"{name:16} {module_of(name).HELP}")
            return 0
        return max([_report(name, args) for name in _wanted(args)])
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 64


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bench", description="Measure Forebay on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the bench to run; --list names them")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--all", action="store_true", help="run every one")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each bench instead of a table")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar="DIR", help="recorded traces, where a bench reads some"
    )
    parser.add_argument("--seconds", type=_positive, default=1.0, metavar="S", help="length of one round of load (default: 1)")
    parser.add_argument("--rounds", type=_whole, default=3, metavar="N", help="rounds, taken in turns; the median counts (default: 3)")
    parser.add_argument(
        "--seeds", type=_whole, default=8, metavar="N", help="simulated runs that count, each with a seed of its own (default: 8)"
    )
    parser.add_argument(
        "--usd-per-gpu-hour",
        type=_price,
        default=None,
        metavar="USD",
        help="price of a GPU, where a bench counts cost (default: none, and no cost)",
    )
    parser.add_argument("--pools", type=_wholes, default=[100, 1000], metavar="N,N", help="pools to plan or to keep (default: 100,1000)")
    parser.add_argument(
        "--peers",
        type=_peers,
        default=None,
        metavar="P,P",
        help="whom to compare with: nginx, litellm, or none. Default: nginx, and litellm once --peers litellm has installed it",
    )
    for name in names():
        if hasattr(module_of(name), "add_arguments"):
            module_of(name).add_arguments(parser.add_argument_group(f"of {name}"))
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 3600 seconds")
    return value


def _price(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 10000 dollars")
    return value


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between 1 and 100000")
    return int(text)


def _wholes(text: str) -> list[int]:
    return [_whole(part) for part in text.split(",")]


def _peers(text: str) -> list[str]:
    peers = [] if text == "none" else text.split(",")
    if unknown := sorted(set(peers) - set(PEERS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PEERS)}, none")
    return peers


def _wanted(args: argparse.Namespace) -> list[str]:
    known = names()
    if args.all == bool(args.names):
        raise UsageError(f"name a bench, or say --all: there are {', '.join(known)}")
    for name in args.names:
        if name not in known:
            raise UsageError(f"there is no bench {name!r}: there are {', '.join(known)}")
    return known if args.all else args.names


def _report(name: str, args: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        rows = module_of(name).run(args)
    except UsageError:
        raise
    except ForebayError as error:
        print(f"bench: {name}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"bench": name, "rows": rows}), flush=True)
    else:
        print(f"{name}: {module_of(name).HELP} ({time.monotonic() - began:.0f} s)\n{table(rows)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
