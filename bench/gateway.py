"""What a request costs at the gateway, beside nginx and LiteLLM in the same run.

Method: the backend answers at once (nginx `return 200`), the front is one process on a core of its own, backend and load share the
other core. CPU is the front's own user and system time over the requests it answered, so a busy machine disturbs it little. Every front
is running before the first round and they take turns, because machines change while one measures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.support import options, peers
from bench.support.backend import backend
from bench.support.forebay_gateway import ENGINE_MODEL, KEY, MODEL, gateway
from bench.support.load import NONCE, Target, drive, drive_with_wrk, has_wrk
from bench.support.process import Measured, measuring
from bench.support.progress import progress
from bench.support.table import digits, median, quantile

NAME = "gateway"
HELP = "CPU of one request at the gateway, against nginx proxy_pass and LiteLLM in the same run"
OPTIONS = (options.seconds, options.rounds)

CONNECTIONS = 32
_WARM_SHARE = 0.4
_PATH = "/v1/chat/completions"
_FILLER = "The customer asks whether the parcel that was sent on Monday can still be redirected to another address. " * 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whom = "whom to compare with: nginx, litellm, or none (default: nginx, and litellm once --peers litellm has installed it)"
    parser.add_argument("--peers", type=_peers, default=None, metavar="P,P", help=whom)


def _peers(text: str) -> list[str]:
    wanted = [] if text == "none" else text.split(",")
    if unknown := sorted(set(wanted) - set(peers.ALL)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(peers.ALL)}, none")
    return wanted


@dataclass(slots=True)
class _Front:
    """Somebody through whom requests go, and what was measured of him."""

    name: str
    process: Measured
    target: Target
    cpu_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failed: int = 0
    requests: int = 0
    p50_s: float = 0.0


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    return measuring(_run(args))


async def _run(args: argparse.Namespace) -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-bench-")))
        port = await stack.enter_async_context(backend(folder))
        fronts, absent = await stack.enter_async_context(_fronts(args, folder, port))
        for number in range(args.rounds):
            progress(NAME, f"round {number + 1} of {args.rounds}")
            for front in fronts:
                await _round(front, args.seconds, folder)
        direct = await drive(Target(port, _PATH, _body(ENGINE_MODEL, 1)), 1, args.seconds / 2)
        for front in fronts:
            front.p50_s = quantile((await drive(front.target, 1, args.seconds / 2)).latencies_s, 0.5)
        return _rows(fronts, quantile(direct.latencies_s, 0.5)) + absent


@asynccontextmanager
async def _fronts(args: argparse.Namespace, folder: Path, port: int) -> AsyncIterator[tuple[list[_Front], list[dict[str, Any]]]]:
    absent: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        own, own_port = await stack.enter_async_context(gateway(folder, port))
        fronts = [
            _Front("forebay, straight", own, Target(own_port, _PATH, _body(MODEL, 1), KEY)),
            _Front("forebay, miss", own, Target(own_port, _PATH, _body(MODEL, 0, NONCE), KEY)),
            _Front("forebay, exact hit", own, Target(own_port, _PATH, _body(MODEL, 0), KEY)),
        ]
        for peer in peers.wanted(args.peers):
            if reason := peer.missing():
                absent.append({"name": peer.name, "absent": reason})
                continue
            process, peer_port = await stack.enter_async_context(peer.running(folder, port))
            fronts.append(_Front(peer.name, process, Target(peer_port, _PATH, _body(MODEL, 1), KEY)))
        yield fronts, absent


def _body(model: str, temperature: int, mark: bytes = b"same") -> bytes:
    """About 1 KB. Temperature 0 lets the exact cache take it; a mark that changes makes it miss."""
    return b'{"model": "%b", "temperature": %d, "messages": [{"role": "user", "content": "%b %b"}]}' % (
        model.encode(),
        temperature,
        mark,
        _FILLER.encode(),
    )


async def _round(front: _Front, seconds: float, folder: Path) -> None:
    await drive(front.target, CONNECTIONS, seconds * _WARM_SHARE)
    before = front.process.cpu_s()
    load = await (drive_with_wrk(front.target, CONNECTIONS, seconds, folder) if has_wrk() else drive(front.target, CONNECTIONS, seconds))
    front.cpu_us.append((front.process.cpu_s() - before) / load.requests * 1e6)
    front.rates.append(load.requests / load.seconds)
    front.requests += load.requests
    front.failed += load.failed


def _rows(fronts: list[_Front], direct_s: float) -> list[dict[str, Any]]:
    cost = {front.name: median(front.cpu_us) for front in fronts}
    rows = []
    for front in fronts:
        row = {
            "name": front.name,
            "cpu_us": digits(cost[front.name]),
            "cpu_us_least": digits(min(front.cpu_us)),
            "cpu_us_most": digits(max(front.cpu_us)),
            "requests_per_core_s": digits(1e6 / cost[front.name]),
            "seen_requests_per_s": digits(median(front.rates)),
            "added_p50_ms": digits((front.p50_s - direct_s) * 1e3),
            "rss_mib": digits(front.process.rss_mib()),
            "requests": front.requests,
            "failed": front.failed,
        }
        if peers.NGINX.name in cost:
            row["times_nginx"] = digits(cost[front.name] / cost[peers.NGINX.name])
        if peers.LITELLM.name in cost:
            row["litellm_times_this"] = digits(cost[peers.LITELLM.name] / cost[front.name])
        rows.append(row | {"load": "wrk" if has_wrk() else "own"})
    return rows
