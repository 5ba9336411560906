"""What requests cost counts, not how many there are: at one rate, longer answers raise the replica count and shorter ones lower it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from e2e import resources
from e2e.controlplane.client import Object
from e2e.forebay import Forebay, Load
from e2e.waiting import eventually

RPS = 1.5
TOKENS, MORE, FEWER = 30, 90, 10
"""Two replicas at first, then four, then one, by the pool's profile."""

STEP = {"base": "80ms", "perToken": "0.01ms", "perKvToken": "0.1us"}
SERIES = re.compile(r"forebay_sidecar_arrivals_total ([\d.]+) requests/s, .*forebay_sidecar_tokens_total \d+ input and (\d+) output tokens")


def slow_pool(forebay: Forebay, batch_class: str) -> Object:
    pool = resources.pool(forebay.namespace, classes=[batch_class])
    flags = {"base": STEP["base"], "per-token": STEP["perToken"], "per-kv-token": STEP["perKvToken"]}
    pool["spec"]["server"]["template"] = resources.engine("sim-chat", **flags)
    pool["spec"]["profiles"][0]["iteration"] = STEP
    return pool


def named(why: list[str]) -> tuple[float, int]:
    """Requests per second and output tokens per request, as a decision names them."""
    found = SERIES.search(" ".join(why))
    return (float(found[1]), int(found[2])) if found else (0.0, 0)


def steady(forebay: Forebay, tokens: int) -> int:
    """The replica count once rate and tokens are measured as they are sent, and all replicas that this takes answer."""

    def count() -> int:
        status = forebay.status()
        rate, measured = named(status["plan"]["why"])
        as_sent = abs(rate - RPS) < 0.1 * RPS and abs(measured - tokens) < 0.2 * tokens
        wanted = sum(status["desired"][kind] for kind in ("onDemand", "spot"))
        return wanted if as_sent and wanted == len(forebay.ready_replicas()) == len(forebay.replicas()) else 0

    return eventually(f"a steady state with {tokens} tokens", count, 120)


def test_tokens_and_not_requests_decide_how_many_replicas(forebay: Forebay, tmp_path: Path) -> None:
    batch_class = f"{forebay.namespace}-patient"
    objectives = {"timeToFirstToken": {"quantile": 0.95, "target": "3s"}}
    forebay.apply(
        resources.batch_class(batch_class, objectives=objectives),
        resources.keys(forebay.namespace),
        slow_pool(forebay, batch_class),
        resources.policy(forebay.namespace, classify={"defaultClass": batch_class}),
    )
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")
    with Load(forebay.gateway(), RPS, TOKENS) as load:
        before = steady(forebay, TOKENS)
        load.tokens = MORE
        eventually("more replicas", lambda: len(forebay.ready_replicas()) > before, 120)
        more = steady(forebay, MORE)
        told = forebay.forebay("explain", "chat")
        load.tokens = FEWER
        # On the way down it may stand for a moment where it began.
        eventually("fewer replicas", lambda: len(forebay.ready_replicas()) < before, 120)
        fewer = steady(forebay, FEWER)
    assert fewer < before < more
    assert set(load.counts) == {"finished"}, load.counts

    records = forebay.operator.decisions(forebay.namespace)
    # The last rise: before the first answers are measured, a guess of their length may ask for as many.
    rises = [after for at, after in pairwise(records) if at["plan"]["replicas"] < after["plan"]["replicas"] == more]
    up = rises[-1]
    rate, tokens = named(up["plan"]["why"])
    assert rate == pytest.approx(RPS, rel=0.15) and tokens > 1.5 * TOKENS, up["plan"]["why"]
    rate, tokens = named(records[-1]["plan"]["why"])
    assert rate == pytest.approx(RPS, rel=0.15) and tokens < TOKENS, records[-1]["plan"]["why"]
    assert f"{more} of {more} replicas answer" in told and "forebay_sidecar_tokens_total" in told and f"{more} replicas by" in told

    file = tmp_path / "decisions.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert forebay.forebay("replay", str(file)).strip() == f"{len(records)} decisions planned again, 0 differ"
