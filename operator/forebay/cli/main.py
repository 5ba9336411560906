"""The `forebay` command: roles that run in the cluster, and tools that a person runs.

Every subcommand is a module of this room with HELP, `add_arguments(parser)` and `run(args) -> int`; it is imported only when it is
called, so that no role carries what it does not use.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from forebay import __version__
from forebay.runtime.errors import ForebayError, UsageError
from forebay.runtime.output import complain, nobody_reads

COMMANDS: dict[str, str] = {
    "operator": "run the operator against a Kubernetes cluster",
    "gateway": "run the OpenAI-compatible gateway",
    "sidecar": "run the batching sidecar in front of one model server",
    "engine": "run one of the model servers that come with the project",
    "up": "run a folder of resources on this machine, without a cluster",
    "top": "show pools, replicas, queues, latency and cost, live",
    "plan": "show what would be decided for a folder or a cluster, and touch nothing",
    "profile": "measure a running engine and write the profile that pools are sized by",
    "simulate": "try resources on a workload, on a virtual clock",
    "explain": "say why a pool has the size it has",
    "replay": "plan recorded decisions again and show the difference",
    "crds": "print the CustomResourceDefinitions",
    "docs": "write the reference pages that are generated from the code",
}

EXTRAS = {
    "operator": "operator",
    "up": "local",
    "top": "cli",
    "plan": "cli",
    "simulate": "local",
    "profile": "local",
    "explain": "cli",
    "engine": "embeddings",
}
"""The extra that brings what a command needs beyond the base; `resources` where none is named."""

EXIT_USAGE = 64

NO = {
    "plan": "an objective, a budget or a reference would break",
    "simulate": "an objective was missed",
    "replay": "a decision is another one now",
    "profile": "the engine serves others or is not near, and was not loaded",
    "docs": "with --check, a page differs from the code",
}
"""What exit code 2 says of each command that has it. Everything else is alike in all."""

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What an output that takes no more answers. An error of another kind without a file is a bug, and its traceback is wanted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


class _CommandParser(_Parser):
    """Of one subcommand: what is wrong is shown beside its own usage, not that of all."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def exit_codes(no: str | None) -> str:
    """What a command ends with; `no` is what 2 says, None where there is no 2."""
    two = f" 2: {no}." if no else ""
    failed = "1: it could not be done, as where a file is missing or wrong, or something does not answer."
    return f"Exit codes: 0: done. {failed}{two} 64: the command was called wrongly."


def _parser(chosen: str | None) -> _Parser:
    """Of all subcommands, with the arguments of the one that is chosen."""
    said = "Size, place, route and batch AI inference from measured demand."
    parser = _Parser(prog="forebay", description=said, epilog=exit_codes('the answer is "no"; `forebay COMMAND --help` says to what'))
    parser.add_argument("--version", action="version", version=f"forebay {__version__}")
    subcommands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name, summary in COMMANDS.items():
        described = summary[0].upper() + summary[1:] + "."
        subparser = subcommands.add_parser(name, help=summary, description=described, epilog=exit_codes(NO.get(name)))
        if name == chosen:
            module = importlib.import_module(f"forebay.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Exit codes: 0 done, 1 failed, as where a file is missing or wrong, 2 the answer is "no", 64 wrong usage.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser(chosen)
    try:
        args = parser.parse_args(arguments)
        code = int(args.run(args))
        _flush()
        return code
    except UsageError as error:
        complain(f"forebay: {error}")
        return EXIT_USAGE
    except ForebayError as error:
        complain(f"forebay: {error}")
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "forebay").startswith("forebay"):
            raise
        extra = EXTRAS.get(str(chosen), "resources")
        complain(f"forebay: `forebay {chosen}` needs {error.name}, which is not installed: pip install 'forebay[{extra}]'")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        nobody_reads(sys.stdout)
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in _UNWRITABLE:
            raise
        complain(f"forebay: {error.filename or 'the output cannot be written'}: {error.strerror}")
        if error.filename is None:
            _give_up_output()
        return 1


def _flush() -> None:
    """Here, and not when the interpreter ends: what cannot be written is an error of this command."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def _give_up_output() -> None:
    """What is still to be written would fail again at the end, with a traceback."""
    with suppress(OSError):
        sys.stdout.close()
