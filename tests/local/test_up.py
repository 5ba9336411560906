"""`forebay up` as a user calls it, and its parts as a demo calls them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.local.nodes import running_below
from tests.local.waiting import eventually

from forebay.adapters.cluster import NODES, PODS
from forebay.adapters.decisions import DecisionsInMemory
from forebay.cli import source
from forebay.cli.main import main
from forebay.local.folder import FolderError, read_folder
from forebay.local.machine import CapacityType
from forebay.local.up import Local, Options, entrypoint, one_machine

RESOURCES = """
apiVersion: forebay.dev/v1alpha1
kind: BatchClass
metadata: {name: interactive}
spec: {tier: Interactive, objectives: {timeToFirstToken: {target: 2s}}}
---
apiVersion: forebay.dev/v1alpha1
kind: InferencePool
metadata: {name: chat}
spec:
  model: {name: sim-chat}
  server:
    engine: VLLM
    template:
      spec:
        terminationGracePeriodSeconds: 5
        containers:
          - name: server
            image: registry.example/forebay:1
            args: [engine, sim, --host, $(POD_IP), --port, "8000", --model, sim-chat, --base, 1ms, --startup, 0s]
            env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
            readinessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 0.2}
  classes: [interactive]
  profiles: [{accelerator: sim-gpu, maxConcurrency: 8, iteration: {base: 1ms, perToken: 0.01ms}}]
  scaling: {minReplicas: 2, maxReplicas: 4}
  capacity:
    accelerators: [{name: sim-gpu, gpusPerNode: 2}]
    spot: {enabled: true}
---
apiVersion: forebay.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: support}
spec:
  models: [{name: support-chat}]
  tenants: [{name: acme, apiKeysFrom: {secretRef: keys}}]
  classify: {defaultClass: interactive}
  rules: [{name: default, route: [{pool: chat}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: the-key}
"""
MACHINE = """
apiVersion: local.forebay.dev/v1
kind: Machine
metadata: {name: m}
spec:
  slots:
    - {name: spot, capacityType: spot, gpus: 2, count: 2, provisionAfter: 0s, returnAfter: 60s}
    - {name: base, gpus: 2, count: 2, provisionAfter: 0s}
"""


def a_folder(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in {"resources": RESOURCES, "machine": MACHINE, **files}.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def chat(url: str, model: str = "support-chat") -> Any:
    body = json.dumps({"model": model, "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"authorization": "Bearer the-key", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body, headers), timeout=10) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


@contextmanager
def forebay_up(folder: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    options = ["--port", "0", "--interval", "0.5s", "--grace", "0.5s", "--state", str(state)]
    command = [sys.executable, "-m", "forebay", "up", str(folder), *options]
    environment = {**os.environ, "XDG_STATE_HOME": str(state.parent / "home")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line that holds the text."""
    assert process.stdout
    before = []
    for line in process.stdout:
        if text in line:
            return line
        before.append(line)
    raise AssertionError(f"never said {text!r}: {''.join(before)}")


def test_a_folder_becomes_a_gateway_that_answers_and_ctrl_c_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source, "RUN_FILE", run_file := tmp_path / "home" / "forebay" / "up.kubeconfig")
    folder, state = a_folder(tmp_path / "in"), tmp_path / "state"
    with forebay_up(folder, state) as process:
        url = line_with(process, " answers at ").split()[-1]
        line_with(process, "InferencePool chat: ReplicasReady: 2 replicas")
        assert chat(url)
        assert len(list(running_below(state))) == 5
        other_commands_find_it(capsys)
        (folder / "resources.yaml").write_text(RESOURCES.replace("minReplicas: 2", "minReplicas: two"))
        assert "has mistakes" in line_with(process, str(folder))
        assert "spec.scaling.minReplicas" in line_with(process, "resources.yaml:")
        (folder / "resources.yaml").write_text(RESOURCES.replace("minReplicas: 2", "minReplicas: 3"))
        line_with(process, "InferencePool chat: ScaledUp: 2 → 3 replicas")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert list(running_below(state)) == []
    assert [json.loads(line) for line in (state / "decisions.jsonl").read_text().splitlines()]
    assert json.loads((state / "kubeconfig").read_text())["kind"] == "Config"
    assert not run_file.exists()
    assert main(["top", "--local", "--once"]) == 1
    assert "no `forebay up` runs on this machine" in capsys.readouterr().err


def other_commands_find_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["top", "--local", "--once"], ("1 pool ", "default/chat", "2/2")),
        (["plan", "--local", "--json"], ('"pool": "default/chat"', '"replicas": 2')),
        (["explain", "chat", "--local"], ("2 of 2 replicas answer", "Because:")),
    ):
        assert main(arguments) == 0, arguments
        said = capsys.readouterr().out
        assert all(word in said for word in words), said
    assert main(["explain", "none", "--local"]) == 1
    assert "there is no InferencePool none in any namespace" in capsys.readouterr().err


def test_whoever_stops_reading_stops_nothing(tmp_path: Path) -> None:
    """`forebay up DIR | head -1`, on a terminal that knows ASCII only."""
    state = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "forebay",
        "up",
        str(a_folder(tmp_path / "in")),
        "--port",
        "0",
        "--grace",
        "0.5s",
        "--state",
        str(state),
    ]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "home"), "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert "ScaledUp: 0 ? 2" in line_with(process, "ScaledUp")
        assert process.stdout and process.stderr
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
    assert list(running_below(state)) == []


def test_nothing_outlives_a_command_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    with forebay_up(a_folder(tmp_path / "in"), state) as process:
        line_with(process, " answers at ")
        assert list(running_below(state))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # What it left behind is not taken for a run.
        monkeypatch.setattr(source, "RUN_FILE", tmp_path / "home" / "forebay" / "up.kubeconfig")
        assert source.RUN_FILE.exists()
        assert main(["plan", "--local"]) == 1
        assert "no `forebay up` runs on this machine" in capsys.readouterr().err
        until = time.monotonic() + 10
        while list(running_below(state)) and time.monotonic() < until:
            time.sleep(0.05)
        assert list(running_below(state)) == []


def test_a_reclaimed_spot_node_is_replaced(tmp_path: Path) -> None:
    """The pool's replicas come back elsewhere; the gateway's address stays."""

    async def test(local: Local) -> None:
        await eventually(lambda: ready_replicas(local, 2))
        (gateway,) = await eventually(lambda: [name for name in local.gateways() if local.is_ready(name)])
        url = f"{local.gateways()[gateway]}/v1"
        assert await asyncio.to_thread(chat, url)
        spot = next(node["metadata"]["name"] for node in await local.cluster.list(NODES) if node["metadata"]["name"].startswith("spot"))
        await local.slots.reclaim(spot, notice_s=0.2)
        await eventually(lambda: ready_replicas(local, 2, away_from=spot))
        assert await eventually(lambda: asyncio.to_thread(answers, url))

    async def run() -> None:
        folder = read_folder(a_folder(tmp_path / "in"))
        options = Options(state=tmp_path / "state", decisions=DecisionsInMemory(), port=0, interval_s=0.5, stop_s=0.5)
        async with asyncio.timeout(30), one_machine(folder, options) as local:
            await test(local)

    asyncio.run(run())
    assert list(running_below(tmp_path)) == []


async def ready_replicas(local: Local, count: int, away_from: str = "") -> bool:
    pods = await local.cluster.list(PODS, labels={"forebay.dev/pool": "chat"})
    ready = [pod for pod in pods if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))]
    return len([pod for pod in ready if pod["spec"]["nodeName"] != away_from]) >= count


def answers(url: str) -> bool:
    try:
        return bool(chat(url))
    except OSError:
        return False


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"more": "kind: ["}, "more.yaml:"),
        ({"more": RESOURCES}, "BatchClass interactive stands here a second time"),
        ({"resources": RESOURCES.replace("tier: Interactive", "tier: interactive")}, "resources.yaml:2: BatchClass interactive: spec.tier"),
        ({"resources": RESOURCES.replace("maxReplicas: 4", "maxReplica: 4")}, 'unknown field "spec.scaling.maxReplica"'),
        ({"resources": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"}, "there is no InferencePool"),
        ({"more": "apiVersion: v1\nkind: Secret\nmetadata: {}\n"}, "more.yaml:1: Secret: metadata.name: Required value"),
        (
            {"more": "apiVersion: forebay.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: r}\n"},
            "more.yaml:1: there is no RoutePolicy in forebay.dev/v1alpha1: ",
        ),
        (
            {"more": "apiVersion: forebay.dev/v2\nkind: RoutingPolicy\nmetadata: {name: r}\n"},
            "there is no RoutingPolicy in forebay.dev/v2: forebay.dev/v1alpha1 has ",
        ),
        ({"more": MACHINE}, "there can be only one Machine"),
        ({"machine": MACHINE.replace("gpus: 2, count", "gpu: 2, count")}, "machine.yaml:2: Machine: spec.slots[0].gpu: Extra inputs"),
    ],
)
def test_all_that_is_wrong_is_said_before_anything_starts(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(FolderError) as error:
        read_folder(a_folder(tmp_path / "in", **files))
    assert problem in str(error.value)


def test_what_only_a_cluster_understands_is_left_out(tmp_path: Path) -> None:
    other = "apiVersion: karpenter.k8s.aws/v1\nkind: EC2NodeClass\nmetadata: {name: gpu}\n"
    folder = read_folder(a_folder(tmp_path / "in", other=other))
    assert [note.partition("other.yaml")[2] for note in folder.skipped] == [":1: karpenter.k8s.aws/v1 EC2NodeClass is left to a cluster"]


def test_without_a_machine_every_accelerator_has_slots_of_both_kinds(tmp_path: Path) -> None:
    requirement = "{name: sim-gpu, gpusPerNode: 2, requirements: [{key: gen, operator: Gt, values: ['4']}]}"
    folder = a_folder(tmp_path / "in", resources=RESOURCES.replace("{name: sim-gpu, gpusPerNode: 2}", requirement))
    (folder / "machine.yaml").unlink()
    machine = read_folder(folder).machine
    assert machine is not None
    assert [(slot.name, slot.capacity_type, slot.gpus, slot.labels) for slot in machine.slots] == [
        ("sim-gpu-spot", CapacityType.SPOT, 2, {"gen": "5"}),
        ("sim-gpu-on-demand", CapacityType.ON_DEMAND, 2, {"gen": "5"}),
    ]


def test_wrong_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(a_folder(tmp_path / "in"))
    (empty := tmp_path / "empty").mkdir()
    for arguments, code, message in (
        (["up", str(tmp_path / "none")], 1, "none: no such file or folder"),
        (["up", str(empty)], 1, "there is no InferencePool"),
        (["up", folder, "--state", f"{folder}/machine.yaml"], 1, "machine.yaml: File exists"),
        (["up", folder, "--decisions", folder], 1, f"--decisions {folder}: Is a directory"),
        (["up", folder, "--port", "70000"], 64, "argument --port: '70000' is not a whole number between 0 and 65535"),
        (["up", folder, "--interval", "soon"], 64, "'soon' is not a duration"),
        (["up", folder, "--interval", "0s"], 64, "argument --interval: must be longer than nothing"),
        (["up"], 64, "DIR"),
    ):
        assert main(arguments) == code, arguments
        assert message in capsys.readouterr().err


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["up", str(a_folder(tmp_path / "in")), "--port", port]) == 1
    assert f"port {port} cannot be listened on" in capsys.readouterr().err


def test_images_of_the_project_are_known_and_no_other() -> None:
    for image in ("forebay", "forebay:1", "ghcr.io/forebay/forebay:0.1.0", "host:5000/x/forebay@sha256:abc"):
        assert entrypoint(image) == [sys.executable, "-m", "forebay"], image
    assert entrypoint("vllm/vllm-openai:v1") is None
