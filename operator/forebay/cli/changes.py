"""What a folder would change of pools that are there: replicas, dollars per hour, and what is left of their objectives."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from math import isfinite
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.cli.against import fresh_snapshot, states
from forebay.cli.values import shared_limits
from forebay.local.folder import read_folder
from forebay.planning.preview import Preview, preview, with_shares
from forebay.planning.snapshot import Snapshot
from forebay.runtime.columns import columns


@dataclass(frozen=True, slots=True)
class Change:
    """One pool before and after; `before` is None where it is new. Without measurements it is planned for no load."""

    pool: str
    before: Preview | None
    after: Preview
    measured: bool

    @property
    def breaks(self) -> bool:
        return bool(self.after.problems)

    def document(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "measured": self.measured,
            "before": None if self.before is None else _document(self.before),
            "after": _document(self.after),
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
    """Every pool of the folder, held against the state that the arguments name.

    Raises:
        ForebayError: folder or state cannot be read.
    """
    objects = list(read_folder(args.file).objects.values())
    classes = {o["metadata"]["name"]: BatchClassSpec.model_validate(o["spec"]) for o in objects if o["kind"] == "BatchClass"}
    known, after = states(args), dict[str, Snapshot]()
    for obj in (o for o in objects if o["kind"] == "InferencePool"):
        name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        spec = InferencePoolSpec.model_validate(obj["spec"])
        start = known.get(name) or fresh_snapshot(obj["metadata"]["namespace"], obj["metadata"]["name"], spec)
        # Classes that the folder leaves out are those that there are.
        wanted = {c: found_class for c in spec.classes if (found_class := classes.get(c) or start.classes.get(c)) is not None}
        after[name] = start.model_copy(update={"spec": spec, "classes": wanted})
    limits = shared_limits(args.shared_limits)
    before, shared = with_shares(limits, known), with_shares(limits, {**known, **after})
    return [_change(name, before.get(name), shared[name]) for name in after]


def _change(name: str, before: Snapshot | None, after: Snapshot) -> Change:
    measured = before is not None and before.demand is not None
    return Change(name, None if before is None else preview(before), preview(after), measured)


def table(found: list[Change], width: int) -> list[str]:
    """A row for each pool; below it what it could not hold, and what is not known."""
    rows: list[tuple[str, ...]] = [("POOL", "REPLICAS", "$/H", "HEADROOM")]
    rows += [(c.pool, *(_both(c, how) for how in (_replicas, _dollars, _headroom))) for c in found]
    head, *lines = columns(rows, left=1)
    result = [head]
    for change, line in zip(found, lines, strict=True):
        result.append(line)
        notes = [f"! {problem}" for problem in change.after.problems]
        if change.before is not None and not change.measured:
            notes.append("nothing was measured of it yet: planned for no load")
        if change.before is None:
            notes.append("new: planned for no load")
        for note in notes:
            result += textwrap.wrap(note, max(width, 40), initial_indent="  ", subsequent_indent="    ")
    return result


def _both(change: Change, how: Any) -> str:
    after = how(change.after)
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
