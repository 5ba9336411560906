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
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(_named(given)).parse_args(given)
        if args.list:
            for name in names():
                print(f"{name:16} {module_of(name).HELP}")
            return 0
        return max([_report(name, args) for name in _wanted(args)])
    except UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 64


def _named(given: Sequence[str]) -> list[str]:
    """The benches whose options may be given: those that are named, all with --all or none of them."""
    return [name for name in names() if name in given and "--all" not in given] or names()


def _parser(chosen: Sequence[str]) -> argparse.ArgumentParser:
    modules = {name: module_of(name) for name in chosen}
    only = next(iter(modules.values())) if len(modules) == 1 else None
    about = "Measure Forebay on this machine. NAME --help says what one measures, and its options."
    parser = _Parser(
        prog="bench" if only is None else f"bench {only.NAME}",
        description=about if only is None else only.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    name_help = "the bench to run; --list names them" if only is None else argparse.SUPPRESS
    parser.add_argument("names", nargs="*", metavar="NAME", help=name_help)
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--all", action="store_true", help="run every one")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each bench instead of a table")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar="DIR", help="recorded traces, where a bench reads some"
    )
    for option in dict.fromkeys(option for module in modules.values() for option in getattr(module, "OPTIONS", ())):
        option(parser)
    for name, module in modules.items():
        if hasattr(module, "add_arguments"):
            module.add_arguments(parser.add_argument_group(f"of {name}"))
    return parser


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
