"""The demo on a running machine: processes, a spot node reclaimed under load, a server that dies, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.local.nodes import running_below
from tests.local.test_up import MACHINE, RESOURCES, a_folder, line_with
from tests.local.waiting import eventually

from forebay.adapters.cluster import PODS
from forebay.adapters.decisions import DecisionsInMemory
from forebay.api.inference_pool import Task
from forebay.cli.main import main
from forebay.dataplane.http.client import Client
from forebay.local.demo import run as demo
from forebay.local.demo.play import Script, play
from forebay.local.demo.shape import Shape
from forebay.local.demo.watch import replicas
from forebay.local.folder import Folder, read_folder
from forebay.local.up import Local, Options, one_machine
from forebay.runtime.errors import ForebayError

SLOW = (
    RESOURCES.replace("--base, 1ms", "--base, 10ms")
    .replace("{base: 1ms,", "{base: 10ms,")
    .replace("spot: {enabled: true}", "spot: {enabled: true}\n    onDemand: {baseReplicas: 1}")
)
"""Answers take up to a second, so that some are under way whenever something happens to a server; one replica of two is on spot."""

LOAD = {Task.CHAT: Shape(((0, 8), (4, 8)))}
SHORT = Script(LOAD, reclaim_at_s=1.0, notice_s=2.0)


def test_the_demo_from_its_load_to_its_exit_code(tmp_path: Path) -> None:
    """One machine for all of it, for starting one takes longer than the load."""

    async def run() -> None:
        folder = read_folder(a_folder(tmp_path / "in", resources=SLOW, machine=MACHINE.replace("returnAfter: 60s", "returnAfter: 0s")))
        decisions = DecisionsInMemory()
        options = Options(state=tmp_path / "state", decisions=decisions, port=0, interval_s=0.5, stop_s=0.5)
        async with asyncio.timeout(60), one_machine(folder, options) as local:
            await nothing_is_lost_with_a_reclaimed_node(local, folder, decisions)
            await a_wrong_key_is_told(local, tmp_path)
            await lost_requests_are_told(local, folder, decisions, tmp_path)
            await a_stop_comes_first(local, folder, decisions)

    asyncio.run(run())
    assert list(running_below(tmp_path)) == []


async def nothing_is_lost_with_a_reclaimed_node(local: Local, folder: Folder, decisions: DecisionsInMemory) -> None:
    said: list[str] = []
    document = await play(local, folder, decisions, SHORT, said.append)
    assert document["requests"]["lost"] == 0, document["requests"]
    assert document["requests"]["finished"] == document["requests"]["sent"] > 10
    taken = document["reclaimed"]
    assert taken["node"].startswith("spot")
    assert taken["streams"] > 0
    assert taken["replacedAtSeconds"] is not None
    assert [row["class"] for row in document["objectives"]] == ["interactive"]
    assert any("karpenter.sh/disrupted" in why for decision in document["decisions"] for why in decision["why"])
    assert document["cost"]["pools"]["default/chat"]["replicaHours"]["spot"] > 0
    assert said[0].startswith("the demo begins")


async def a_wrong_key_is_told(local: Local, path: Path) -> None:
    wrong = read_folder(a_folder(path / "wrong", resources=SLOW.replace("key: the-key", "key: another")))
    with pytest.raises(ForebayError, match="its last answer was 401; pool default/chat: Replicas"):
        await play(local, wrong, DecisionsInMemory(), Script(LOAD, 1.0, 1.0, ready_within_s=0.5), print)


async def lost_requests_are_told(local: Local, folder: Folder, decisions: DecisionsInMemory, path: Path) -> None:
    """Every engine dies in the middle of its answers: exit code 1, and the summary says how many were lost."""
    said: list[str] = []
    file, script = path / "summary.json", Script(LOAD, reclaim_at_s=3.9, notice_s=0.1)
    showing = asyncio.create_task(demo.show(local, folder, decisions, file, asyncio.Event(), said.append, script))
    await eventually(lambda: said)
    await let_engines_die(local)
    assert await showing == 1
    lost = json.loads(file.read_text())["requests"]["lost"]
    assert lost
    assert f"{lost} accepted requests were LOST." in said


async def a_stop_comes_first(local: Local, folder: Folder, decisions: DecisionsInMemory) -> None:
    said: list[str] = []
    stop = asyncio.Event()
    showing = asyncio.create_task(demo.show(local, folder, decisions, None, stop, said.append, SHORT))
    await eventually(lambda: said)
    stop.set()
    assert await showing == demo.STOPPED


async def let_engines_die(local: Local) -> None:
    """Makes every engine that there is now crash after some more tokens."""
    client = Client()
    for replica in await replicas(local.cluster, "default/chat"):
        pod = await local.cluster.get(PODS, "default", replica.name)
        assert pod is not None
        if address := pod["status"].get("podIP"):
            async with await client.send(address, 8000, "PUT", "/sim/faults", body=b'{"dieAfterTokens": 20}') as reply:
                assert reply.status == 200, await reply.read()
    await client.close()


def test_ctrl_c_ends_the_demo_and_every_process(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "forebay", "up", str(a_folder(tmp_path / "in")), "--demo", "--grace", "0.5s", "--state", str(state)]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "in" / "machine.yaml")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        line_with(process, "commands with --local will not find this: ")
        line_with(process, "the demo begins")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == demo.STOPPED
    finally:
        process.kill()
    assert list(running_below(state)) == []


def test_wrong_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(a_folder(tmp_path / "in"))
    closed = str(a_folder(tmp_path / "closed", resources=RESOURCES.replace("stringData: {key: the-key}", "stringData: {}")))
    for arguments, code, message in (
        (["up", folder, "--summary", str(tmp_path / "s.json")], 64, "--summary: there is one only with --demo"),
        (["up", folder, "--demo", "--summary", str(tmp_path)], 64, "is not a file in a folder that exists"),
        (["up", folder, "--demo", "--summary", str(tmp_path / "none" / "s.json")], 64, "is not a file in a folder that exists"),
        (["up", closed, "--demo"], 1, "needs a RoutingPolicy with a tenant whose Secret"),
    ):
        assert main(arguments) == code, arguments
        assert message in capsys.readouterr().err
