"""`forebay operator`: follows the cluster and carries out plans, on the one replica that holds the lease."""

from __future__ import annotations

import argparse
from pathlib import Path

from forebay.cli.values import PORT, add_shared_limits, given, matcher, namespace, seconds, shared_limits, some_time, url
from forebay.runtime.errors import ForebayError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", type=Path, help="kubeconfig file; without it KUBECONFIG, then the pod's service account")
    parser.add_argument(
        "--namespace",
        type=namespace,
        action="append",
        default=[],
        metavar="NS",
        help="watch only this namespace (may be repeated)",
    )
    parser.add_argument(
        "--lease-namespace",
        type=namespace,
        default="forebay-system",
        metavar="NS",
        help="namespace of the Lease (default %(default)s)",
    )
    parser.add_argument(
        "--lease-seconds", type=seconds, default=15.0, metavar="TIME", help="how long a dead leader keeps the lease (default 15s)"
    )
    parser.add_argument("--image", type=given, required=True, help="image of the sidecars and gateways: the operator's own")
    parser.add_argument("--interval", type=some_time, default=15.0, metavar="TIME", help="time between two plans of a pool (default 15s)")
    parser.add_argument("--prometheus", type=url, metavar="URL", help="read demand from this Prometheus instead of scraping the sidecars")
    parser.add_argument(
        "--prometheus-matchers",
        type=matcher,
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="only series with this label, such as cluster=eu-1, where a Prometheus holds those of several clusters (may be repeated)",
    )
    shown = "file with the bearer token that this Prometheus is shown, read anew each time, such as a service account's"
    parser.add_argument("--prometheus-token-file", type=Path, metavar="FILE", help=shown)
    ca = "certificates that this Prometheus's own is checked by (PEM; default: the system's)"
    parser.add_argument("--prometheus-ca", type=Path, metavar="FILE", help=ca)
    parser.add_argument(
        "--decisions", default="-", metavar="FILE", help="where decision records go, one JSON line each; - is standard output (default)"
    )
    add_shared_limits(parser)
    parser.add_argument(
        "--mig-config-namespace",
        type=namespace,
        default="gpu-operator",
        metavar="NS",
        help="namespace of mig-manager's configuration (default %(default)s)",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address of /healthz, /readyz and /metrics (default all)")  # noqa: S104
    parser.add_argument("--port", type=PORT, default=8081, help="port of /healthz, /readyz and /metrics (default %(default)s)")
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"], help="least level that is logged (default info)"
    )
    parser.add_argument("--sweep-all", action="store_true", help="delete every NodePool that Forebay made, and exit: for uninstalling")


def run(args: argparse.Namespace) -> int:
    from forebay.reconcile.run import Options, main
    from forebay.runtime.logs import configure

    for option in ("--prometheus-matchers", "--prometheus-token-file", "--prometheus-ca"):
        if vars(args)[option[2:].replace("-", "_")] and not args.prometheus:
            raise UsageError(f"{option} goes with --prometheus URL")
    if args.prometheus_ca:
        _certificates(args.prometheus_ca)
    configure(args.log_level)
    called = {**vars(args), "shared_limits": shared_limits(args.shared_limits)}
    values = {k: v for k, v in called.items() if k in Options.__dataclass_fields__}
    return main(Options(**values))


def _certificates(path: Path) -> None:
    """Raises ForebayError where a server's certificate cannot be checked by this file: later the server's would seem not to be trusted."""
    import ssl

    if not path.is_file():
        raise ForebayError(f"--prometheus-ca {path}: there is no such file")
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        raise ForebayError(f"--prometheus-ca {path}: no certificates in PEM are in it") from None
    except OSError as error:
        raise ForebayError(f"--prometheus-ca {path}: {error.strerror}") from None
