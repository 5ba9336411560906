"""`forebay up`: a folder of resources on this machine, without a cluster, until Ctrl-C."""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay.cli.values import PORT, add_shared_limits, duration, path, shared_limits, some_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=path, metavar="DIR", help="folder with the resources; changes are taken over as files are saved")
    parser.add_argument("--demo", action="store_true", help="load the folder's models for two minutes, say what happened, and end")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="with --demo: also write what happened to this file, as JSON")
    parser.add_argument(
        "--port",
        type=PORT,
        metavar="PORT",
        help="port of the first gateway on 127.0.0.1 (default 8080, with --demo a free one); 0 takes a free one",
    )
    parser.add_argument(
        "--api-port", type=PORT, default=0, metavar="PORT", help="port of the read-only Kubernetes API; by default a free one"
    )
    parser.add_argument("--interval", type=some_time, default="2s", metavar="DURATION", help="time between two plans of a pool")
    parser.add_argument("--grace", type=duration, default="10s", metavar="DURATION", help="time that processes have to end after Ctrl-C")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where pods' files and logs go and stay; a temporary folder by default")
    parser.add_argument("--decisions", metavar="FILE", help="where decision records are appended; decisions.jsonl of the state by default")
    add_shared_limits(parser)
    parser.add_argument("--log-level", default="error", choices=("debug", "info", "warning", "error"), help="least level that is logged")


def run(args: argparse.Namespace) -> int:
    from forebay.cli.source import RUN_FILE
    from forebay.local.run import Settings, run_folder
    from forebay.runtime import logs
    from forebay.runtime.errors import UsageError

    logs.configure(args.log_level)
    if args.summary and not args.demo:
        raise UsageError("--summary: there is one only with --demo")
    if args.summary and (args.summary.is_dir() or not args.summary.parent.is_dir()):
        raise UsageError(f"--summary: {args.summary} is not a file in a folder that exists")
    port = args.port if args.port is not None else 0 if args.demo else 8080
    return run_folder(
        Settings(
            folder=args.folder,
            port=port,
            api_port=args.api_port,
            interval_s=args.interval,
            stop_s=args.grace,
            state=args.state,
            decisions=args.decisions,
            run_file=RUN_FILE,
            demo=args.demo,
            summary=args.summary,
            shared_limits=shared_limits(args.shared_limits),
        )
    )
