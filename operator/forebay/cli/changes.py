"""What a folder would change of pools that are there: replicas, dollars per hour, and what is left of their objectives."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from forebay.adapters.clock import timestamp
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.api.shared_limits import SharedLimit
from forebay.cli.against import fresh_snapshot, state
from forebay.cli.replay import MOST_NAMED
from forebay.cli.values import shared_limits
from forebay.local.folder import read_part
from forebay.planning.preview import Preview, preview, with_shares
from forebay.planning.snapshot import Snapshot
from forebay.planning.supply import named
from forebay.runtime.columns import columns
from forebay.runtime.errors import ForebayError, UsageError
from forebay.runtime.output import complain

OLD_S = 3600.0
"""A load that was measured so long ago is said to be of then."""


@dataclass(frozen=True, slots=True)
class Change:
    """One pool before and after; `before` is None where it is new. Without measurements it is planned for no load.

    `measured_at` is when its demand was measured, in seconds of the epoch. A pool that the folder leaves out is here where a class of the
    folder changes it, or where it is `prunable`: it is in a namespace of the folder, so whatever prunes removes it. `after` is None where
    nothing else changes it. `unserved` are classes that are asked of it now and that it would not serve any more: it is planned without
    their load.
    """

    pool: str
    before: Preview | None
    after: Preview | None
    measured_at: float | None
    left_out: bool = False
    prunable: bool = False
    unserved: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        return self.measured_at is not None

    @property
    def breaks(self) -> bool:
        return self.after is not None and bool(self.after.problems)

    def document(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "measured": self.measured,
            "measuredAt": None if self.measured_at is None else timestamp(self.measured_at),
            "inFolder": not self.left_out,
            "removedByPruning": self.prunable,
            "unservedClasses": list(self.unserved),
            "before": None if self.before is None else _document(self.before),
            "after": None if self.after is None else _document(self.after),
            "breaks": self.breaks,
        }


def _document(one: Preview) -> dict[str, Any]:
    return {
        "replicas": one.replicas,
        "onDemand": one.on_demand,
        "spot": one.spot,
        "usdPerHour": one.usd_per_hour,
        "headroom": None if one.headroom is None or not isfinite(one.headroom) else round(one.headroom, 4),
        "objectives": [
            {
                "class": e.name,
                "objective": e.metric,
                "quantile": e.quantile,
                "targetSeconds": e.target_s,
                "expectedSeconds": round(e.tail_s, 6) if isfinite(e.tail_s) else None,
            }
            for e in one.expected
        ],
        "problems": list(one.problems),
        "why": list(one.why),
    }


def changes(args: argparse.Namespace) -> list[Change]:
    """Every pool that the folder holds, changes by its classes, or leaves out of its namespaces, held against the state that is named.

    Raises:
        ForebayError: folder or state cannot be read.
    """
    folder = read_part(args.file)
    for note in folder.unrendered:
        complain(f"forebay: {note}")
    objects = list(folder.objects.values())
    classes = {o["metadata"]["name"]: BatchClassSpec.model_validate(o["spec"]) for o in objects if o["kind"] == "BatchClass"}
    pools = [o for o in objects if o["kind"] == "InferencePool"]
    if not pools and not classes:
        raise ForebayError(f"{args.file}: there is no InferencePool and no BatchClass")
    there, after = state(args), dict[str, Snapshot]()
    known = there.pools
    for obj in pools:
        meta, spec = obj["metadata"], InferencePoolSpec.model_validate(obj["spec"])
        name = f"{meta['namespace']}/{meta['name']}"
        start = known.get(name) or fresh_snapshot(meta["namespace"], meta["name"], spec)
        # Of classes that it did not name before, those that are there.
        start = start.model_copy(update={"classes": {**there.classes, **start.classes}})
        after[name] = _with_classes(start.model_copy(update={"spec": spec}), classes)
    held = {o["metadata"]["namespace"] for o in objects if o["kind"] in ("InferencePool", "RoutingPolicy")}
    left_out = [name for name in sorted(known) if name not in after]
    prunable = {name for name in left_out if known[name].pool.namespace in held}
    changed = {name: new for name in left_out if (new := _with_classes(known[name], classes)).classes != known[name].classes}
    limits = shared_limits(args.shared_limits)
    for note in idle(limits, {**known, **after}.values()):
        complain(f"forebay: --shared-limits {args.shared_limits}: {note}")
    before, shared = with_shares(limits, known), with_shares(limits, {**known, **after, **changed})
    shown = _shown([*after, *(n for n in left_out if n in prunable or n in changed)], args.namespace)
    return [
        _change(n, before.get(n), shared[n] if n in after or n in changed else None, left_out=n not in after, prunable=n in prunable)
        for n in shown
    ]


def idle(limits: Iterable[SharedLimit], pools: Iterable[Snapshot]) -> list[str]:
    """What is said of limits that no pool shares. That is no error: a pool may come later; but it may be a namespace that was misspelt."""
    held = sorted({pool.pool.namespace for pool in pools})
    there = f"there are pools in {named(held, MOST_NAMED)}" if held else "there are no pools"
    found = (limit for limit in limits if limit.namespaces and not any(map(limit.binds, held)))
    return [f"limit {limit.name} binds no pool: its namespaces are {named(list(limit.namespaces), MOST_NAMED)}, {there}" for limit in found]


def _with_classes(snapshot: Snapshot, classes: dict[str, BatchClassSpec]) -> Snapshot:
    """The pool with the classes that its spec names as the folder has them; those that the folder leaves out are those that there are."""
    found = {name: classes.get(name) or snapshot.classes.get(name) for name in snapshot.spec.classes}
    return snapshot.model_copy(update={"classes": {name: spec for name, spec in found.items() if spec is not None}})


def _shown(names: list[str], namespace: str | None) -> list[str]:
    found = [name for name in names if namespace in (None, name.split("/")[0])]
    if names and not found:
        raise UsageError(f"-n {namespace}: the folder changes nothing there, only in {', '.join(sorted({n.split('/')[0] for n in names}))}")
    return found


def _change(name: str, before: Snapshot | None, after: Snapshot | None, *, left_out: bool, prunable: bool) -> Change:
    measured_at = before.demand.measured_at if before is not None and before.demand is not None else None
    was, becomes = (None if s is None else preview(s) for s in (before, after))
    return Change(name, was, becomes, measured_at, left_out, prunable, _unserved(before, after))


def _unserved(before: Snapshot | None, after: Snapshot | None) -> tuple[str, ...]:
    if before is None or before.demand is None or after is None:
        return ()
    asked = (name for name, found in before.demand.classes.items() if found.requests_per_s > 0.0 or found.queued > 0.0)
    return tuple(sorted(set(asked) - set(after.spec.classes)))


def table(found: list[Change], width: int) -> list[str]:
    """A row for each pool; below it what it could not hold, and what is not known."""
    rows: list[tuple[str, ...]] = [("POOL", "REPLICAS", "$/H", "HEADROOM")]
    rows += [(c.pool, _both(c, _replicas, "removed"), _both(c, _dollars, "0.00"), _both(c, _headroom, "-")) for c in found]
    head, *lines = columns(rows, left=1)
    result = [head]
    for change, line in zip(found, lines, strict=True):
        result.append(line)
        for note in _notes(change):
            result += textwrap.wrap(note, max(width, 40), initial_indent="  ", subsequent_indent="    ")
    return result if found else ["nothing changes: no pool that is there names a class that the folder changes"]


def _notes(change: Change) -> list[str]:
    notes = [*(f"! {problem}" for problem in change.after.problems), *change.after.notes] if change.after is not None else []
    if change.left_out:
        notes.append("; ".join(_left_out(change)))
    if change.unserved:
        notes.append(f"planned without the load of {named(list(change.unserved), MOST_NAMED)}, which it serves now and would not any more")
    if change.before is None:
        notes.append("new: planned for no load")
    elif not change.measured:
        notes.append("nothing was measured of it yet: planned for no load")
    elif (age_s := time.time() - (change.measured_at or 0.0)) > OLD_S:
        notes.append(f"planned for the load of {timestamp(change.measured_at or 0.0)}, {span(age_s)} ago")
    return notes


def span(seconds: float) -> str:
    """So long ago, as people say it."""
    days, hours = int(seconds // 86_400), int(seconds // 3600)
    return f"{days} days" if days > 1 else f"{hours} hours" if hours > 1 else "an hour"


def _left_out(change: Change) -> list[str]:
    said = ["not in the folder"]
    if change.after is not None:
        said.append("planned with the classes of the folder")
    if change.prunable and change.before is not None:
        instead = " instead" if change.after is not None else ""
        said.append(f"whatever prunes removes it{instead}, and with it {_dollars(change.before)} $/h")
    return said


def _both(change: Change, how: Callable[[Preview], str], gone: str) -> str:
    after = gone if change.after is None else how(change.after)
    if change.before is None:
        return f"new: {after}"
    before = how(change.before)
    return after if before == after else f"{before} → {after}"


def _replicas(one: Preview) -> str:
    return str(one.replicas)


def _dollars(one: Preview) -> str:
    return "unknown" if one.usd_per_hour is None else f"{one.usd_per_hour:.2f}"


def _headroom(one: Preview) -> str:
    left = one.headroom
    return "-" if left is None else f"{100 * left:.0f} %" if isfinite(left) else "none"
