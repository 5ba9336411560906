"""`forebay sidecar`: queues, limits and batches in front of one model server."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
from pathlib import Path

from forebay.cli.values import PORT, duration
from forebay.runtime.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/forebay/sidecar.json"),
        metavar="FILE",
        help="compiled configuration; changes are followed",
    )
    parser.add_argument("--host", default=os.environ.get("POD_IP", "127.0.0.1"), help="address to listen on; POD_IP where that is set")
    parser.add_argument("--port", type=PORT, default=9400, help="port for requests, /load, health and metrics; 0 takes a free one")
    parser.add_argument("--engine", required=True, metavar="HOST:PORT", help="the model server")
    parser.add_argument("--grace", type=duration, default="25s", metavar="DURATION", help="time that requests have to finish after SIGTERM")
    parser.add_argument(
        "--drain-token",
        default="",
        metavar="TOKEN",
        help="lets GET /drain?token=TOKEN drain this replica; without it there is no such path",
    )


def run(args: argparse.Namespace) -> int:
    from forebay.dataplane.http.beside import beside
    from forebay.dataplane.http.run import run as run_loop
    from forebay.dataplane.sidecar.app import Settings, Sidecar
    from forebay.runtime import logs

    engine_host, engine_port = _address(args.engine)
    settings = Settings(args.config, args.host, args.port, engine_host, engine_port, args.grace, args.drain_token, beside=beside(args.host))

    logs.configure()

    async def serve(stop: asyncio.Event) -> int:
        return await Sidecar(settings).run(stop)

    return run_loop(serve)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= 65535 or (":" in host and not _is_ipv6(host)):
        raise UsageError(f"--engine: {text!r} is not HOST:PORT")
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    """Without brackets too: Kubernetes puts a pod's address into `$(POD_IP):8000` as it is."""
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
