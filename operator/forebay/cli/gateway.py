"""`forebay gateway`: the OpenAI-compatible front door of the policies of one gateway name."""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay.cli.values import PORT, duration, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/forebay/gateway.json"),
        metavar="FILE",
        help="compiled configuration; changes are followed",
    )
    parser.add_argument(
        "--keys",
        type=Path,
        default=Path("/etc/forebay/keys"),
        metavar="DIR",
        help="folder of folders of API keys; changes are followed",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104 - a pod serves its Service
    parser.add_argument("--port", type=PORT, default=8080, help="port for clients; 0 takes a free one")
    parser.add_argument("--admin-port", type=PORT, default=9401, help="port for /healthz, /readyz and /metrics; 0 takes a free one")
    parser.add_argument(
        "--kubernetes", default="in-cluster", metavar="URL|in-cluster|none", help="the API server whose EndpointSlices name the replicas"
    )
    parser.add_argument(
        "--credentials",
        type=Path,
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        metavar="DIR",
        help="folder with token and ca.crt for the API server",
    )
    parser.add_argument("--decisions", default="-", metavar="FILE|-", help="where decision records are appended; - is standard output")
    parser.add_argument(
        "--cache-bytes", type=whole(0, 1 << 40), default=64 * 1024 * 1024, metavar="N", help="memory for cached answers; 0 keeps none"
    )
    parser.add_argument(
        "--grace", type=duration, default="25s", metavar="DURATION", help="time that requests under way have to finish after SIGTERM"
    )


def run(args: argparse.Namespace) -> int:
    from forebay.dataplane.gateway.run import Role, Settings
    from forebay.dataplane.http.beside import beside
    from forebay.dataplane.http.run import run as run_loop
    from forebay.runtime import logs

    logs.configure()
    settings = Settings(
        config=args.config,
        keys=args.keys,
        kubernetes=args.kubernetes,
        credentials=args.credentials,
        host=args.host,
        port=args.port,
        admin_port=args.admin_port,
        decisions=args.decisions,
        grace_s=args.grace,
        cache_bytes=args.cache_bytes,
        beside=beside(args.host),
    )
    return run_loop(lambda stop: Role(settings).run(stop))
