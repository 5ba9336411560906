"""What the operator learns of a pool, and sizes it ahead by: it is shown, it outlives the operator, and a change is held against it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml
from e2e import resources
from e2e.controlplane.client import Object
from e2e.forebay import Forebay, Load
from e2e.waiting import eventually

from forebay.api.durations import parse_duration

RPS, TOKENS = 4.0, 60
STABILIZATION_S = 40


def begin(forebay: Forebay, **scaling: object) -> list[Object]:
    """A pool of a class of its own, with two replicas at least, that answers; and what was applied, its keys apart."""
    name = f"{forebay.namespace}-prompt"
    made = [
        resources.batch_class(name),
        resources.pool(
            forebay.namespace,
            classes=[name],
            scaling={"minReplicas": 2, "maxReplicas": 6, "scaleDown": {"stabilization": f"{STABILIZATION_S}s"}, **scaling},
        ),
        resources.policy(forebay.namespace, classify={"defaultClass": name}),
    ]
    forebay.apply(resources.keys(forebay.namespace), *made)
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")
    return made


def expected(forebay: Forebay) -> Object:
    """What is forecast of the pool's class; nothing before a minute was seen whole."""
    listed = forebay.status().get("demand", {}).get("forecast", [])
    return dict(listed[0]) if listed and "outputTokensPerSecond" in listed[0] else {}


def kept(forebay: Forebay) -> bool:
    """Whether what outlives the operator, which is written once a minute, has a whole minute of the class."""
    found = forebay.plane.api.get(f"/api/v1/namespaces/{forebay.namespace}/configmaps/chat-forebay-memory") or {}
    forecasts = json.loads(found.get("data", {}).get("memory.json", "{}")).get("forecasts", {})
    return any(one["outputTokens"]["model"] for one in forecasts.values())


def learned(forebay: Forebay) -> tuple[int, int]:
    """Starts of replicas that were measured, and observations that the profile rests on."""
    status = forebay.status()
    starts = sum(stage["samples"] for variant in status["variants"] for stage in variant.get("lead", []) if stage["stage"] == "ready")
    return starts, sum(profile["observations"] for profile in status.get("profiles", []))


def test_what_is_learned_is_shown_and_outlives_the_operator(forebay: Forebay, tmp_path: Path) -> None:
    folder = begin(forebay, warmStandby=1)
    with Load(forebay.gateway(), RPS, TOKENS) as load:
        before = eventually("a forecast of the class", lambda: expected(forebay), 150)
        assert 0 < before["outputTokensPerSecond"]["p50"] <= before["outputTokensPerSecond"]["upper"]
        assert before["outputTokensPerSecond"]["p50"] < 3 * RPS * TOKENS and before["model"] == "trend" and not before.get("drives")
        assert before["doubt"] in forebay.says("ForecastCalibrated", "Learning")
        eventually("starts and steps were measured", lambda: all(learned(forebay)), 60)
        starts, observations = learned(forebay)
        assert forebay.status()["desired"]["warmStandby"] == 1

        eventually("it is kept beside the pool", lambda: kept(forebay), 90)
        forebay.operator.scale(0)
        decided = len(forebay.operator.decisions(forebay.namespace))
        forebay.operator.scale(1)
        eventually("decisions of the new operator", lambda: len(forebay.operator.decisions(forebay.namespace)) > decided + 1, 60)
        after = eventually("the forecast goes on", lambda: expected(forebay), 30)
        assert parse_duration(after["history"]) >= parse_duration(before["history"]) > 0
        again, counted = learned(forebay)
        assert again >= starts and counted >= 0.9 * observations

        told = change(forebay, folder, tmp_path, minReplicas=5)
    assert set(load.counts) == {"finished"}, load.counts
    assert told["measured"] and told["before"]["replicas"] < told["after"]["replicas"] == 5, told


def change(forebay: Forebay, folder: list[Object], tmp_path: Path, **scaling: object) -> Object:
    """What `forebay plan --against cluster` says of the pool under another scaling, by what the operator has measured."""
    pool = next(obj for obj in folder if obj["kind"] == "InferencePool")
    pool["spec"]["scaling"] |= scaling
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump_all(folder))
    try:
        said = forebay.forebay("plan", "-f", str(tmp_path), "--against", "cluster", "--json")
    except subprocess.CalledProcessError as ended:
        assert ended.returncode == 2, ended.stderr
        said = ended.stdout
    [row] = [row for row in json.loads(said) if row["pool"] == f"{forebay.namespace}/chat"]
    return dict(row)


def test_operator_restart_mid_scale(forebay: Forebay) -> None:
    """Knative #4795. Whoever comes back knows nothing of the time between: nothing shrinks for one window, and then it does."""
    begin(forebay)
    with Load(forebay.gateway(), 3 * RPS, TOKENS) as load:
        eventually("more replicas", lambda: len(forebay.ready_replicas()) > 2, 90)
        forebay.operator.scale(0)
    assert set(load.counts) == {"finished"}, load.counts
    there = len(forebay.replicas())
    forebay.operator.scale(1)
    eventually("nobody asks, and nothing is given back", lambda: holds(forebay, there), STABILIZATION_S)
    eventually("replicas are given back", lambda: len(forebay.replicas()) == 2, STABILIZATION_S + 90)


def holds(forebay: Forebay, replicas: int) -> bool:
    """Whether so many are held because fewer have not been enough for a window yet."""
    status = forebay.status()
    why = f"{replicas} held: fewer (2) must be enough for {STABILIZATION_S}s"
    calm = status["demand"].get("requestsPerSecond") == 0 and any(sentence.startswith(why) for sentence in status["plan"]["why"])
    return calm and len(forebay.replicas()) == replicas
