"""Pods as processes, from their object to their end, with real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.local.nodes import (
    PORT,
    Cluster,
    condition,
    delete,
    is_ready,
    kubelet,
    on_a_node,
    pod,
    remove_node,
    running_below,
    script,
    server,
    state,
)
from tests.local.waiting import eventually

from forebay.adapters.cluster import CONFIG_MAPS, PODS
from forebay.local.kubelet import bound_log

SLEEP = "import time; time.sleep(60)"


async def ask(status: dict[str, Any]) -> dict[str, Any]:
    def get() -> Any:
        with urllib.request.urlopen(f"http://{status['podIP']}:{PORT}/", timeout=5) as answer:
            return json.load(answer)

    found: dict[str, Any] = await asyncio.to_thread(get)
    return found


async def config_map(cluster: Cluster, **data: str) -> None:
    await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config", "namespace": "default"}, "data": data})


async def a_secret(cluster: Cluster, **data: str) -> None:
    await cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}, "stringData": data})


def waits_for(status: dict[str, Any], container: str) -> str | None:
    reason: str | None = state(status, container).get("waiting", {}).get("reason")
    return reason


def test_two_pods_answer_on_one_port_each_on_its_own_address(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        for name in ("a", "b"):
            await cluster.create(pod(name, server(env=[{"name": "WHO", "value": name}])))
        statuses = [await cluster.until(name, is_ready) for name in ("a", "b")]
        assert len({status["podIP"] for status in statuses}) == 2
        assert [(await ask(status))["env"]["WHO"] for status in statuses] == ["a", "b"]
        status = statuses[0]
        assert status["phase"] == "Running"
        assert [condition(status, one) for one in ("Initialized", "ContainersReady", "Ready")] == ["True"] * 3
        assert status["containerStatuses"][0]["started"] is True
        assert "running" in state(status, "server")

    on_a_node(tmp_path, test)


def test_a_host_variable_does_not_reach_a_container(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOST_SECRET", "x")

    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server()))
        assert "HOST_SECRET" not in (await ask(await cluster.until("a", is_ready)))["env"]

    on_a_node(tmp_path, test)


def test_an_image_that_is_known_and_one_that_is_not(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        known = script("c", "")
        entrypoint = known.pop("command")[:1]
        assert entrypoint
        await cluster.create(pod("known", {"name": "c", "image": "forebay:1", "args": ["-c", SLEEP]}))
        await cluster.create(pod("unknown", {"name": "c", "image": "other:1"}))
        await cluster.until("known", is_ready)
        status = await cluster.until(
            "unknown", lambda status: "waiting" in state(status, "c") and state(status, "c")["waiting"]["reason"] == "ErrImagePull"
        )
        assert status["phase"] == "Pending"
        assert "give the container a command" in state(status, "c")["waiting"]["message"]

    from tests.local.nodes import PYTHON

    on_a_node(tmp_path, test, entrypoint=lambda image: [PYTHON] if image.startswith("forebay") else None)


def test_sidecars_start_before_and_end_after_the_containers(tmp_path: Path) -> None:
    """A sidecar is waited for until its startup probe succeeds; on the way down it outlives the main container."""
    says = """
import pathlib, signal, sys, time
def say(word):
    with open("order", "a") as order: order.write("{name} " + word + "\\n")
def end(*_):
    say("ended"); time.sleep({slow}); say("gone"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("up"); time.sleep(0.3); open("{name}", "w"); time.sleep(60)
"""
    probe = {"exec": {"command": ["test", "-e", "side"]}, "periodSeconds": 0.05, "failureThreshold": 200}
    side = script("side", says.format(name="side", slow=0), restartPolicy="Always", startupProbe=probe)
    once = script("once", "open('order', 'a').write('once\\n')")
    main = script("main", says.format(name="main", slow=0.3))
    ended = tmp_path / "order-at-the-end"

    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", main, initContainers=[side, once]))
        await cluster.until("a", is_ready)
        order = next(tmp_path.glob("default_a_*/order"))
        await eventually(lambda: order.read_text().splitlines() == ["side up", "once", "main up"])
        await eventually(lambda: (order.parent / "main").exists())
        await delete(cluster, "a")
        await cluster.until_gone("a")
        ended.write_text(order.read_text())

    on_a_node(tmp_path, test)
    assert ended.read_text().splitlines()[3:] == ["main ended", "main gone", "side ended", "side gone"]


def test_a_pod_that_ignores_sigterm_is_gone_after_its_grace(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        stubborn = script("c", "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(60)")
        await cluster.create(pod("a", stubborn, terminationGracePeriodSeconds=1))
        await eventually(lambda: list(tmp_path.glob("default_a_*/up")))
        await delete(cluster, "a")
        await cluster.until_gone("a")
        assert list(running_below(tmp_path)) == []

    on_a_node(tmp_path, test)


def test_a_forced_deletion_ends_processes_at_once(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server(), terminationGracePeriodSeconds=600))
        await cluster.until("a", is_ready)
        await delete(cluster, "a", grace_s=0)
        await eventually(lambda: not list(running_below(tmp_path)))

    on_a_node(tmp_path, test)


def test_a_node_that_goes_away_takes_its_processes_with_it(tmp_path: Path) -> None:
    """As a reclaimed machine: no grace, no status; what runs elsewhere stays."""

    async def test(cluster: Cluster) -> None:
        await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}})
        await cluster.create(pod("a", server(), node="n1"))
        await cluster.create(pod("b", server(), node="n2"))
        for name in ("a", "b"):
            await cluster.until(name, is_ready)
        assert len(list(running_below(tmp_path))) == 2
        await remove_node(cluster, "n2")
        await eventually(lambda: len(list(running_below(tmp_path))) == 1)
        assert is_ready(await cluster.status("b"))
        assert (await ask(await cluster.status("a")))["argv"] == [(await cluster.status("a"))["podIP"]]

    on_a_node(tmp_path, test)


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server()))
        await cluster.until("a", is_ready)
        (before,) = running_below(tmp_path)
        os.kill(before, signal.SIGKILL)
        status = await cluster.until("a", lambda status: status["containerStatuses"][0]["restartCount"] == 1 and is_ready(status))
        assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
        assert before not in running_below(tmp_path)

    on_a_node(tmp_path, test)


def test_readiness_is_written_as_it_changes(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server()))
        status = await cluster.until("a", is_ready)
        unready = next(tmp_path.glob("default_a_*")) / "unready"
        unready.touch()
        status = await cluster.until("a", lambda status: not is_ready(status))
        (ready,) = [one for one in status["conditions"] if one["type"] == "Ready"]
        assert ready["reason"] == "ContainersNotReady"
        assert "[server]" in ready["message"]
        unready.unlink()
        await cluster.until("a", is_ready)

    on_a_node(tmp_path, test)


def test_conditions_of_others_stay(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server()))
        theirs = {"type": "DisruptionTarget", "status": "True"}
        status = await cluster.until("a", is_ready)
        await cluster.patch(PODS, "default", "a", {"status": {"conditions": [*status["conditions"], theirs]}}, subresource="status")
        (next(tmp_path.glob("default_a_*")) / "unready").touch()
        status = await cluster.until("a", lambda status: not is_ready(status))
        assert theirs in status["conditions"]

    on_a_node(tmp_path, test)


def test_a_config_map_arrives_late_and_changes(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        reader = "import sys, time\nwhile True:\n    print(open(sys.argv[1]).read(), flush=True); time.sleep(0.05)"
        container = script("c", reader, args=["/etc/app/file"], volumeMounts=[{"name": "v", "mountPath": "/etc/app"}])
        await cluster.create(pod("a", container, volumes=[{"name": "v", "configMap": {"name": "config"}}]))
        missing = "ConfigMap default/config is not there"
        await cluster.until("a", lambda status: state(status, "c").get("waiting", {}).get("message") == missing)
        await config_map(cluster, file="one")
        await eventually(lambda: "one" in cluster.log("a", "c"))
        await cluster.patch(CONFIG_MAPS, "default", "config", {"data": {"file": "two"}})
        await eventually(lambda: "two" in cluster.log("a", "c"))

    on_a_node(tmp_path, test)


def test_a_variable_waits_for_its_secret(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}
        await cluster.create(pod("a", server(env=[key])))
        await cluster.until("a", lambda status: waits_for(status, "server") == "CreateContainerConfigError")
        await cluster.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}, "stringData": {"k": "s3"}}
        )
        assert (await ask(await cluster.until("a", is_ready)))["env"]["KEY"] == "s3"

    on_a_node(tmp_path, test)


def test_nothing_of_a_secret_is_left_on_the_disk(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "default"}, "stringData": {"k": "s3"}}
        )
        volumes = [{"name": "v", "secret": {"secretName": "keys"}}]
        await cluster.create(pod("a", server(volumeMounts=[{"name": "v", "mountPath": "/keys"}]), volumes=volumes))
        await cluster.until("a", is_ready)
        assert [path.read_text() for path in tmp_path.glob("default_a_*/volumes/v/k")] == ["s3"]
        assert [path.stat().st_mode & 0o077 for path in tmp_path.glob("default_a_*")] == [0]
        await delete(cluster, "a")
        await cluster.until_gone("a")
        assert not list(tmp_path.glob("default_a_*/volumes"))

    on_a_node(tmp_path, test)


def test_a_pod_that_runs_to_completion(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        side = script("side", SLEEP, restartPolicy="Always")
        await cluster.create(pod("good", script("c", "print('done')"), restartPolicy="Never", initContainers=[side]))
        await cluster.create(pod("bad", script("c", "raise SystemExit(3)"), restartPolicy="Never"))
        await cluster.create(
            pod("worse", script("c", "print('never')"), restartPolicy="Never", initContainers=[script("i", "raise SystemExit(4)")])
        )
        good = await cluster.until("good", lambda status: status["phase"] == "Succeeded")
        assert "terminated" in state(good, "side")
        assert state(await cluster.until("bad", lambda status: status["phase"] == "Failed"), "c")["terminated"]["exitCode"] == 3
        await cluster.until("worse", lambda status: status["phase"] == "Failed")
        assert cluster.log("worse", "c") == ""
        await delete(cluster, "good")
        await cluster.until_gone("good")

    on_a_node(tmp_path, test)


def test_a_malformed_pod_fails_and_harms_no_other(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("bad", {"name": "c", "image": "x", "command": 7}))
        await cluster.create(pod("good", server()))
        await cluster.until("good", is_ready)
        bad = await cluster.until("bad", lambda status: status["phase"] == "Failed")
        assert bad["reason"] == "CannotRun"
        assert "int" in bad["message"]

    on_a_node(tmp_path, test)


def test_pods_of_nodes_that_do_not_exist_wait(tmp_path: Path) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(pod("a", server(), node="later"))
        await cluster.create(pod("b", server()))
        await cluster.until("b", is_ready)
        assert "podIP" not in await cluster.status("a")
        await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "later"}})
        await cluster.until("a", is_ready)

    on_a_node(tmp_path, test)


def test_no_process_outlives_a_test_that_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with kubelet(tmp_path) as cluster:
            await cluster.create(pod("a", server()))
            await cluster.until("a", is_ready)
            raise RuntimeError("the test fails")

    try:
        asyncio.run(main())
    except RuntimeError:
        assert list(running_below(tmp_path)) == []


def test_a_log_is_bounded_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "c.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100 + b"b" * 50)
        bound_log(log, 1000)
        assert log.stat().st_size == 150
        bound_log(log, 60)
        writer.write(b"c")
    assert log.read_bytes() == b"c"
    assert (tmp_path / "c.log.1").read_bytes() == b"a" * 10 + b"b" * 50
