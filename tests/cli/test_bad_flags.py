"""What each command says when it is called wrongly or given files that it cannot use: one clear line, and never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.cli.main import main

CLUSTER = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "u", "user": {}}]}
CONTEXT = {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
KUBECONFIG = {"apiVersion": "v1", "kind": "Config", **CLUSTER, **CONTEXT}
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
OPERATOR = ["operator", "--image", "forebay:1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["plan", "--bogus"], "unrecognized arguments: --bogus\nusage: forebay plan "),
        (["up", "-f", "folder"], "unrecognized arguments: -f\nusage: forebay up "),
        (["operator"], "required: --image"),
        (["operator", "--image", ""], "argument --image: must not be empty"),
        ([*OPERATOR, "--port", "99999"], "argument --port: '99999' is not a whole number between 0 and 65535"),
        ([*OPERATOR, "--port", "-1"], "argument --port: '-1' is not a whole number"),
        ([*OPERATOR, "--interval", "nan"], "argument --interval: 'nan' is not a duration"),
        ([*OPERATOR, "--lease-seconds", "1ms"], "argument --lease-seconds: must be at least 1s"),
        ([*OPERATOR, "--prometheus", "prometheus:9090"], "'prometheus:9090' is not a URL such as http://prometheus:9090"),
        ([*OPERATOR, "--prometheus", "http://host:port"], "'http://host:port' is not a URL"),
        (
            [*OPERATOR, "--prometheus", "http://host:9090?tenant=a"],
            "'http://host:9090?tenant=a': a URL of a host, and perhaps a path, is needed, without ? and #",
        ),
        (
            [*OPERATOR, "--prometheus-matchers", "cluster"],
            "argument --prometheus-matchers: 'cluster' is not LABEL=VALUE, such as cluster=eu-1",
        ),
        ([*OPERATOR, "--prometheus-matchers", "namespace=a"], "pools and classes are told apart by namespace"),
        ([*OPERATOR, "--prometheus-matchers", "cluster="], "the value of cluster must be 1 to 253 printable characters"),
        ([*OPERATOR, "--prometheus-matchers", "cluster=eu-1"], "--prometheus-matchers goes with --prometheus URL"),
        ([*OPERATOR, "--namespace", "A b"], "argument --namespace: 'A b' is no namespace"),
        ([*OPERATOR, "--lease-namespace", ""], "argument --lease-namespace: '' is no namespace"),
        (["sidecar", "--engine", "127.0.0.1:²"], "--engine: '127.0.0.1:²' is not HOST:PORT"),
        (["gateway", "--cache-bytes", "inf"], "argument --cache-bytes: 'inf' is not a whole number"),
        (["docs"], "required: --out"),
    ],
)
def test_wrong_usage_is_64_and_names_the_option(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 64
    said = capsys.readouterr().err
    assert message in said and said.startswith("forebay: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not a kubeconfig"),
        (b"[]", "it is not a kubeconfig"),
        (b"\xff\xfe\x00", "can't decode byte 0xff"),
        (b"apiVersion: v1\nclusters: [", "expected the node content"),
        (json.dumps({**KUBECONFIG, "current-context": "other"}).encode(), "Expected object with name other"),
        (
            json.dumps(KUBECONFIG).replace("http://127.0.0.1:1", "here").encode(),
            "the cluster's server 'here' is not a URL such as https://",
        ),
    ],
)
@pytest.mark.parametrize("command", [["plan"], [*OPERATOR, "--host", "127.0.0.1", "--port", "0"]], ids=["plan", "operator"])
def test_a_kubeconfig_that_is_none(
    command: list[str], content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    (path := tmp_path / "kubeconfig").write_bytes(content)
    assert main([*command, "--kubeconfig", str(path)]) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert str(path) in said and message in said


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    (file := tmp_path / "file").write_text("")
    (kubeconfig := tmp_path / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    for arguments, message in (
        (["crds", "--out", str(file)], f"{file}: File exists"),
        (["crds", "--out", str(file / "in")], f"{file / 'in'}: Not a directory"),
        (["docs", "--out", str(tmp_path / "none")], f"{tmp_path / 'none' / 'api.md'}: No such file or directory"),
        ([*OPERATOR, "--kubeconfig", str(kubeconfig), "--decisions", str(tmp_path)], f"--decisions {tmp_path}: Is a directory"),
    ):
        assert main(arguments) == 1, arguments
        assert capsys.readouterr().err == f"forebay: {message}\n", arguments


@pytest.mark.parametrize(
    "command",
    [
        ["gateway", "--kubernetes", "none", "--admin-port", "0"],
        ["sidecar", "--engine", "127.0.0.1:1"],
        ["engine", "sim"],
        OPERATOR,
    ],
    ids=lambda command: command[0],
)
def test_an_address_that_nobody_has(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A documentation address, and a name that cannot even be asked for."""
    (kubeconfig := tmp_path / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    more = ["--kubeconfig", str(kubeconfig)] if command is OPERATOR else []
    for host in ("203.0.113.1", "no..name"):
        assert main([*command, *more, "--host", host, "--port", "0"]) == 1
        said = capsys.readouterr().err
        assert f"forebay: cannot listen on {host}:0: " in said and "Traceback" not in said


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "-f", "none"],
        ["plan", "-f", str(QUICKSTART), "--against", "none"],
        ["plan", "-f", str(QUICKSTART), "--against", "none", "--shared-limits", "none"],
        ["replay", "none"],
        ["simulate", "-f", "none", "--workload", "none"],
        ["simulate", "-f", str(QUICKSTART), "--pool", "chat", "--workload", "none"],
        ["up", "none"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_missing_is_1_whoever_wants_it(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert "none: no such file" in said.lower()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("command", [["crds"], ["plan", "-f", str(QUICKSTART)]], ids=["much", "little"])
def test_an_output_that_is_full_is_one_line(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "forebay", *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "forebay: the output cannot be written: No space left on device\n"
