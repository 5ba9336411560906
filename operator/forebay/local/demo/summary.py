"""What became of the load, as one JSON document: counted from what the clients saw, the samples and the decision records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.dataplane.outcome import Outcome
from forebay.local.demo.load import Answered
from forebay.local.demo.reclaim import Reclaimed
from forebay.local.demo.watch import PoolSample, Sample
from forebay.planning.limits import bill
from forebay.planning.queueing import Metric
from forebay.planning.snapshot import ON_DEMAND
from forebay.planning.target import promises
from forebay.planning.variants import Variant, preferred_profile

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was seen. `began` is when the load began, in seconds since the epoch."""

    began: float
    classes: dict[str, BatchClassSpec]
    pools: dict[str, InferencePoolSpec]
    answered: list[Answered]
    held_back: int
    samples: list[Sample]
    decisions: list[Document]
    reclaimed: Reclaimed | None
    nearest: Document | None


def summary(seen: Seen) -> Document:
    """The document that `--summary` writes. Times in seconds since the load began, money in dollars."""
    decisions = changes(seen.decisions, seen.began)
    costs = {name: _cost(name, spec, seen) for name, spec in seen.pools.items()}
    return {
        "schemaVersion": 1,
        "seconds": seen.samples[-1].at_s if seen.samples else 0.0,
        "requests": _requests(seen),
        "objectives": [row for name, spec in seen.classes.items() for row in _objectives(name, spec, seen.answered)],
        "cache": _cache(seen.answered),
        "cost": {"pools": costs, **_total(list(costs.values()))},
        "reclaimed": None if seen.reclaimed is None else _reclaimed(seen.reclaimed),
        "nearest": seen.nearest,
        "decisions": decisions,
        "timeline": [_moment(before, sample) for before, sample in pairwise(seen.samples)],
    }


def _requests(seen: Seen) -> Document:
    def counts(answered: list[Answered]) -> Document:
        became = Counter(one.outcome for one in answered)
        return {"sent": len(answered), **{str(outcome): became[outcome] for outcome in Outcome}}

    classes = sorted({one.batch_class for one in seen.answered})
    return {
        **counts(seen.answered),
        "heldBack": seen.held_back,
        "outputTokens": sum(one.output_tokens for one in seen.answered),
        "errors": {str(status): count for status, count in sorted(Counter(o.status for o in seen.answered if o.status != 200).items())},
        "classes": {name: counts([one for one in seen.answered if one.batch_class == name]) for name in classes},
    }


def measured(one: Answered, metric: Metric) -> float | None:
    """What a client saw of one metric, seconds; None where there is nothing to measure."""
    if one.first_s is None or metric == "timeToFirstToken":
        return one.first_s
    if metric == "endToEnd":
        return one.total_s
    return (one.total_s - one.first_s) / (one.output_tokens - 1) if one.output_tokens > 1 else None


def _objectives(name: str, spec: BatchClassSpec, answered: list[Answered]) -> list[Document]:
    """Attainment of each objective among requests that a replica had to answer; whoever was refused or lost saw none of it."""
    mine = [one for one in answered if one.batch_class == name and one.cache != "hit"]
    rows: list[Document] = []
    for promise in promises(spec):
        times = [measured(one, promise.metric) if one.outcome is Outcome.FINISHED else math.inf for one in mine]
        known = sorted(time for time in times if time is not None)
        tail = quantile(known, promise.quantile)
        rows.append(
            {
                "class": name,
                "objective": promise.metric,
                "quantile": promise.quantile,
                "targetSeconds": promise.target_s,
                "requests": len(known),
                "attainment": round(sum(t <= promise.target_s for t in known) / len(known), 4) if known else None,
                "tailSeconds": round(tail, 4) if tail is not None and math.isfinite(tail) else None,
            }
        )
    return rows


def quantile(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least this share of the values do not exceed; None where there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _cache(answered: list[Answered]) -> Document:
    """What the gateway said of its exact cache. The share is of requests that may be answered from it."""
    found = Counter(one.cache for one in answered)
    served, asked = found["hit"] + found["collapsed"], found["hit"] + found["collapsed"] + found["miss"]
    return {
        **{name: found[name] for name in ("hit", "collapsed", "miss", "bypass")},
        "share": round(served / asked, 4) if asked else None,
    }


def changes(records: Iterable[Document], began: float) -> list[Document]:
    """The decisions that changed a pool, in order: what it has, what it had before, and why."""
    had: dict[str, tuple[int, int]] = {}
    found: list[Document] = []
    for record in records:
        desired = record["plan"]["status"]["desired"]
        now = desired["onDemand"], desired["spot"]
        before = had.get(record["pool"], (0, 0))
        had[record["pool"]] = now
        if now != before:
            found.append(
                {
                    "atSeconds": round(record["snapshot"]["now"] - began, 1),
                    "pool": record["pool"],
                    "before": {"onDemand": before[0], "spot": before[1]},
                    "after": {"onDemand": now[0], "spot": now[1]},
                    "replicas": record["plan"]["replicas"],
                    "why": record["plan"]["why"],
                }
            )
    return found


def _cost(name: str, spec: InferencePoolSpec, seen: Seen) -> Document:
    """What the pool's replicas cost, and what it would have cost to keep, all the time and on-demand, the most that it ever needed."""
    hours = {"onDemand": 0.0, "spot": 0.0}
    used: float | None = 0.0
    samples = seen.samples
    for before, sample in pairwise(samples):
        step_h, pool = (sample.at_s - before.at_s) / 3600, before.pools[name]
        hours["onDemand"] += pool.on_demand * step_h
        hours["spot"] += pool.spot * step_h
        used = None if used is None or pool.usd_per_hour is None else used + pool.usd_per_hour * step_h
    peak = max((record["plan"]["replicas"] for record in seen.decisions if record["pool"] == name), default=0)
    choice = next(iter(preferred_profile(spec)), None)
    rate = bill(spec, Variant(ON_DEMAND, *choice), peak).usd_per_hour if choice else None
    total = hours["onDemand"] + hours["spot"]
    return {
        "peakReplicas": peak,
        "replicaHours": {kind: round(value, 5) for kind, value in hours.items()},
        "spotShare": round(hours["spot"] / total, 4) if total else 0.0,
        "usedUsd": None if used is None else round(used, 5),
        "staticPeakUsd": None if rate is None or not samples else round(rate * (samples[-1].at_s - samples[0].at_s) / 3600, 5),
    }


def _total(costs: list[Document]) -> Document:
    """Sums over pools, unknown where one of them is; and the spot share of all replica-hours."""

    def added(field: str) -> float | None:
        values = [cost[field] for cost in costs]
        return None if None in values else round(sum(values), 5)

    used, static = added("usedUsd"), added("staticPeakUsd")
    saved = round(1 - used / static, 4) if used is not None and static else None
    spot = sum(cost["replicaHours"]["spot"] for cost in costs)
    hours = spot + sum(cost["replicaHours"]["onDemand"] for cost in costs)
    return {"usedUsd": used, "staticPeakUsd": static, "savedShare": saved, "spotShare": round(spot / hours, 4) if hours else 0.0}


def _moment(before: Sample, sample: Sample) -> Document:
    rate = (sample.sent - before.sent) / (sample.at_s - before.at_s) if sample.at_s > before.at_s else 0.0
    return {
        "atSeconds": sample.at_s,
        "requestsPerSecond": round(rate, 2),
        "inFlight": sample.in_flight,
        "pools": {name: _pool(pool) for name, pool in sample.pools.items()},
    }


def _pool(pool: PoolSample) -> Document:
    return {"desired": pool.desired, "ready": pool.ready, "onDemand": pool.on_demand, "spot": pool.spot}


def _reclaimed(taken: Reclaimed) -> Document:
    return {
        "node": taken.node,
        "replica": taken.replica,
        "streams": taken.streams,
        "atSeconds": taken.at_s,
        "goneAtSeconds": taken.gone_at_s,
        "replacedAtSeconds": taken.replaced_at_s,
    }
