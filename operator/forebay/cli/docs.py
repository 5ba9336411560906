"""`forebay docs`: the reference pages that are generated from the code, so that they cannot differ from it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forebay.runtime.output import complain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="write the pages into this folder")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 2 when a page differs from the code")


def run(args: argparse.Namespace) -> int:
    stale = []
    for name, text in pages().items():
        path = args.out / name
        if args.check:
            stale += [] if path.exists() and path.read_text() == text else [name]
        else:
            path.write_text(text)
    if stale:
        complain(f"forebay: {', '.join(stale)} differ from the code: run `make docs`")
    return 2 if stale else 0


def pages() -> dict[str, str]:
    """File name to text."""
    from forebay.cli.reference import reference_page

    return {"api.md": reference_page(), "metrics.md": metrics_page(), "conditions.md": conditions_page()}


def metrics_page() -> str:
    from forebay.dataplane.gateway import metrics as gateway
    from forebay.dataplane.sidecar.metrics import Metrics
    from forebay.reconcile import telemetry

    head = (
        "# Metrics\n\nGenerated from the code by `make docs`. Every part serves Prometheus text on `/metrics`; names of"
        " OpenTelemetry's GenAI conventions are used where they exist.\n"
    )
    parts = (
        ("Sidecar, port 9400", Metrics().registry),
        ("Gateway, port 9401", gateway.REGISTRY),
        ("Operator, port 8081", telemetry.REGISTRY),
    )
    return head + "".join(f"\n## {title}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n{_rows(r)}" for title, r in parts)


def _rows(registry: Any) -> str:
    found = {}
    for collector in list(registry._collector_to_names):
        labels = ", ".join(getattr(collector, "_labelnames", ()))
        described = collector.describe() if hasattr(collector, "describe") else collector.collect()
        for family in described:
            suffix = "_total" if family.type == "counter" else ""
            found[family.name + suffix] = f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |\n"
    return "".join(found[name] for name in sorted(found))


def conditions_page() -> str:
    from forebay.api.conditions import CONDITIONS, EVENTS

    head = "# Conditions and Events\n\nGenerated from the code by `make docs`. Reasons are stable words: alerts may match on them.\n"
    return (
        head
        + _table("Conditions", ("condition", "True means"), CONDITIONS.items())
        + _table("Events", ("reason", "what happened"), EVENTS.items())
    )


def _table(title: str, columns: tuple[str, str], rows: Iterable[tuple[Any, str]]) -> str:
    lines = "".join(f"| `{name}` | {text} |\n" for name, text in rows)
    return f"\n## {title}\n\n| {columns[0]} | {columns[1]} |\n|---|---|\n{lines}"
