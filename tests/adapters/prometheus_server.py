"""Servers that stand in for a Prometheus in tests: a small one of the test's own, and a real one where it is installed."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

Question = dict[str, str]
"""A query's parameters."""


@contextmanager
def answering(answer: Callable[[Question], bytes]) -> Iterator[str]:
    """A server that gives these answers, each question in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer({name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                return  # it did not wait

        def log_message(self, *_: Any) -> None: ...

    with served_by(Handler) as url:
        yield url


@contextmanager
def served_by(handler: type[BaseHTTPRequestHandler], certificate: Path | None = None) -> Iterator[str]:
    """The URL of a server with this handler, each question in a thread of its own; with TLS where it has a certificate."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def a_real_prometheus(folder: Path, lines: Iterator[str]) -> Iterator[str]:
    """A Prometheus whose past are these OpenMetrics lines; the test is skipped where none is installed."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install prometheus)")
    (past := folder / "past.txt").write_text("".join(f"{line}\n" for line in [*lines, "# EOF"]))
    (configuration := folder / "prometheus.yml").write_text("global: {}\n")
    data = folder / "data"
    subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", str(past), str(data)], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=100y"]
    process = subprocess.Popen([*command, f"--web.listen-address={address}", "--log.level=error"], stderr=subprocess.DEVNULL)
    try:
        _until_ready(f"http://{address}")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def _until_ready(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("Prometheus did not become ready")
