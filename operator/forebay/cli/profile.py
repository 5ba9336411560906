"""`forebay profile`: measures a running engine, and writes the profile that a pool is sized by."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from forebay.cli.profiled import report
from forebay.cli.values import engine_url, number, objective, whole, writable
from forebay.runtime.errors import ForebayError, UsageError
from forebay.runtime.output import complain

if TYPE_CHECKING:
    from forebay.dataplane.http.client import Client
    from forebay.profiling.load import Endpoint, Level, Loader

EXIT_REFUSED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", type=engine_url, metavar="URL", help="the engine, such as http://127.0.0.1:8000")
    parser.add_argument("--task", choices=("Chat", "Embeddings"), default="Chat", help="what it answers (default: Chat)")
    parser.add_argument("--model", metavar="NAME", help="the model to ask for (default: the one that it lists)")
    parser.add_argument("--input-tokens", type=whole(1, 100_000), default=512, metavar="N", help="mean length of prompts (default: 512)")
    parser.add_argument("--output-tokens", type=whole(2, 100_000), default=128, metavar="N", help="length of answers (default: 128)")
    most = "most requests at once, or with task Embeddings inputs of one batch (default: 64)"
    parser.add_argument("--max-concurrency", type=whole(1, 4096), default=64, metavar="N", help=most)
    parser.add_argument("--seconds", type=number(1, 3600), default=15.0, metavar="S", help="time at each concurrency (default: 15)")
    parser.add_argument("--api-key-from-env", metavar="VARIABLE", help="environment variable with the engine's API key")
    parser.add_argument(
        "--accelerator", type=_name, default="gpu", metavar="NAME", help="the accelerator that the entry is for (default: gpu)"
    )
    parser.add_argument("--gpus", type=whole(0, 64), default=1, metavar="N", help="GPUs of this engine (default: 1)")
    parser.add_argument(
        "--objective",
        type=objective,
        action="append",
        default=[],
        metavar="METRIC=pQ:TARGET",
        help="say how many requests/s one such replica holds within this, such as timeToFirstToken=p95:1s (may be repeated)",
    )
    parser.add_argument("--overload", action="store_true", help="load it although it serves others, or is not near")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the entry for `profiles` there, as YAML")
    parser.add_argument("--json", action="store_true", help="print a JSON document instead of tables")


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: write lower-case letters, digits and dashes")
    return text


def run(args: argparse.Namespace) -> int:
    """Exit code 2 when the endpoint should not be loaded."""
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from forebay.dataplane.http.client import Client
    from forebay.profiling.guard import objection
    from forebay.profiling.load import Level, Loader

    if args.out:
        writable("--out", args.out)
    tls = ssl.create_default_context() if urlsplit(args.url).scheme == "https" else None
    client = Client(max_idle_per_host=args.max_concurrency, ssl=tls)
    try:
        endpoint = _endpoint(args)
        reason = "" if args.overload else await objection(client, endpoint)
        if reason:
            complain(f"forebay: {args.url} is not loaded: {reason}; say --overload to do it all the same")
            return EXIT_REFUSED
        endpoint = endpoint if args.model else await _asked(client, endpoint)
        loader, levels = Loader(endpoint, client), list[Level]()
        failure = await _measure(args, loader, levels)
    finally:
        await client.close()
    if not failure:
        report(endpoint, levels, loader.steps.sums, args)
        return 0
    if isinstance(failure, asyncio.CancelledError):
        args.out = None
    # What was seen until then is told as far as it goes; what went wrong is the failure, and not that there is too little.
    with suppress(ForebayError):
        if levels:
            report(endpoint, levels, loader.steps.sums, args)
    raise failure


def _endpoint(args: argparse.Namespace) -> Endpoint:
    from forebay.api.inference_pool import Task
    from forebay.profiling.load import Endpoint

    parts = urlsplit(args.url)
    assert parts.hostname is not None
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            f"{args.url.replace(parts.netloc, parts.netloc.rpartition('@')[2])}: a URL of a host, and perhaps a path, is"
            " needed; a key comes by --api-key-from-env"
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    lengths = {"input_tokens": args.input_tokens, "output_tokens": args.output_tokens}
    return Endpoint(parts.hostname, port, prefix, args.model or "", Task(args.task), _key(args), **lengths)


async def _asked(client: Client, endpoint: Endpoint) -> Endpoint:
    """The endpoint with the one model that it lists."""
    from dataclasses import replace

    from forebay.profiling.guard import models

    found = await models(client, endpoint)
    if len(found) != 1:
        raise UsageError(f"say --model: the engine lists {', '.join(found) or 'none that can be read'}")
    return replace(endpoint, model=found[0])


def _key(args: argparse.Namespace) -> tuple[tuple[bytes, bytes], ...]:
    if not args.api_key_from_env:
        return ()
    value = os.environ.get(args.api_key_from_env, "")
    if not value or not value.isprintable() or not value.isascii():
        raise UsageError(f"--api-key-from-env: the variable {args.api_key_from_env} holds no key")
    return ((b"authorization", b"Bearer " + value.encode()),)


async def _measure(args: argparse.Namespace, loader: Loader, levels: list[Level]) -> BaseException | None:
    """One level after another, until more stops paying twice in a row, or the engine turns requests away. Why it ended before that:
    the engine failed, or somebody pressed Ctrl-C.
    """
    from forebay.profiling.curve import concurrencies, knee

    wanted = concurrencies(args.max_concurrency)
    with _progress(len(wanted)) as tell:
        for index, concurrency in enumerate(wanted):
            try:
                levels.append(await loader.at(concurrency, args.seconds, partial(tell, index, concurrency)))
            except (ForebayError, asyncio.CancelledError) as error:
                return error
            at, saturated = knee(levels, loader.endpoint.task)
            if levels[-1].refused or (saturated and at <= concurrency // 4):
                break
    return None


@contextmanager
def _progress(levels: int) -> Iterator[Callable[[int, int, float], None]]:
    """A bar on a terminal's standard error; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda index, concurrency, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("measuring", total=float(levels))

        def tell(index: int, concurrency: int, share: float) -> None:
            bar.update(task, completed=index + share, description=f"{concurrency} at once")

        yield tell
