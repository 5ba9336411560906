"""`forebay explain POOL`: why a pool has the size it has, in sentences with the numbers."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forebay.cli.source import add_source, pool_name, read_pools


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", help="name of an InferencePool")
    parser.add_argument("--json", action="store_true", help="print JSON instead of sentences")
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    pools = read_pools(args, args.pool)
    if args.json:
        print(json.dumps([{"pool": pool_name(p), **p.get("status", {})} for p in pools]))
        return 0
    print("\n\n".join("\n".join(sentences(pool)) for pool in pools))
    return 0


def sentences(pool: dict[str, Any]) -> list[str]:
    """The last decision, what it rests on, and every condition that needs a person."""
    status: dict[str, Any] = pool.get("status") or {}
    if "plan" not in status:
        return [f"{pool_name(pool)} has not been planned yet: is the operator running?"]
    plan, demand = status["plan"], status.get("demand", {})
    lines = [
        f"{pool_name(pool)} {plan['summary']}: {status.get('readyReplicas', 0)} of {status.get('replicas', 0)} replicas answer,"
        f" at {status.get('rate', {}).get('usdPerHour', 'unknown')} $/h. Decided {plan['decidedAt']} ({plan['id']}).",
        _measured(demand),
    ]
    objective = status.get("objective", {})
    if objective.get("p95TimeToFirstToken"):
        met = f", objectives met by {objective['attainment']:.1%}" if "attainment" in objective else ""
        lines.append(f"p95 time to first token {objective['p95TimeToFirstToken']}{met}.")
    variants = status.get("variants", [])
    lines += [*_prices(variants), *_starts(variants), *(_expected(row) for row in demand.get("forecast", []))]
    lines += ["Because:", *(f"  - {why}" for why in plan.get("why", []))]
    return lines + _conditions(status)


def _measured(demand: dict[str, Any]) -> str:
    if "requestsPerSecond" not in demand:
        return "Measured: nothing fresh, which is not that nothing is asked."
    return (
        f"Measured: {demand['requestsPerSecond']:g} requests/s, {demand['inputTokensPerSecond']:g} input and"
        f" {demand['outputTokensPerSecond']:g} output tokens/s,"
        f" {demand['queued']} queued, {demand['inFlight']} in flight."
    )


def _expected(row: dict[str, Any]) -> str:
    """One class's forecast in a sentence. A bound of which it is not known how often it holds is not told."""
    judged = "observedCoverage" in row
    kinds = (("input", row.get("inputTokensPerSecond")), ("output", row.get("outputTokensPerSecond")))
    bounds = {name: f", at most {found['upper']:g}" if judged else "" for name, found in kinds if found}
    tokens = " and ".join(f"{found['p50']:g} {name} tokens/s{bounds[name]}" for name, found in kinds if found)
    held = f" with coverage {row['coverage']:g}, held {row['observedCoverage']:.1%} of the last day" if judged else ""
    doubt = f"Not used: {row['doubt']}." if row.get("doubt") else "It does not size the pool: see ForecastCalibrated."
    use = "It sizes the pool." if row.get("drives") else doubt
    seen = f", seen for {row['history']}" if row.get("history") else ""
    return f"Class {row['name']} in {row['horizon']} by {row['model']}{seen}: {tokens}{held}. {use}"


def _prices(variants: list[dict[str, Any]]) -> list[str]:
    """What a node of each variant that is wanted costs."""
    wanted = [v for v in variants if v.get("desired")]
    priced = [f"{_kind(v)} {v['usdPerHour']:g} $/h" if "usdPerHour" in v else f"{_kind(v)} unknown" for v in wanted]
    return [f"Prices of a node: {', '.join(priced)}."] if priced else []


def _starts(variants: list[dict[str, Any]]) -> list[str]:
    """How long replicas were seen to take until they are ready, which is how far ahead a pool is planned."""
    found = []
    for variant in variants:
        stages = {row["stage"]: row for row in variant.get("lead", [])}
        if whole := stages.pop("ready", None):
            parts = ", ".join(f"{name} {row['p90']}" for name, row in stages.items())
            said = f"Starts of {_kind(variant)}: nine in ten (p90) are ready within {whole['p90']}, half within {whole['p50']}"
            found.append(f"{said}; of {whole['samples']} seen{f', p90 by stage: {parts}' if parts else ''}.")
    return found


def _kind(variant: dict[str, Any]) -> str:
    partition = variant.get("partition", "full")
    words = (variant.get("accelerator"), "" if partition == "full" else partition, variant.get("capacityType"))
    return " ".join(filter(None, words)) or str(variant["name"])


_GOOD_WHEN_FALSE = {"Paused", "FieldConflict"}
_CALM = {"Learning", "ForecastDisabled"}
"""Reasons that pass by themselves, or were asked for."""


def _conditions(status: dict[str, Any]) -> list[str]:
    odd = [
        c for c in status.get("conditions", []) if (c["status"] == "True") == (c["type"] in _GOOD_WHEN_FALSE) and c["reason"] not in _CALM
    ]
    return ["To look at:", *(f"  - {c['type']}={c['status']}, {c['reason']}: {c['message']}" for c in odd)] if odd else []
