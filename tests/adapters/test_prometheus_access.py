"""A Prometheus that asks who is there, and one whose certificate the system does not know."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.prometheus_server import served_by

from forebay.adapters.prometheus import PAUSE_S, PrometheusMetrics
from forebay.adapters.prometheus_history import PrometheusHistory
from forebay.adapters.promql import Access
from forebay.cli.main import main
from forebay.planning.measured import Demand

SECRET = "s3cret-0f-the-team"
NOW = 1_700_000_000.0


@contextmanager
def guarded(*, certificate: Path | None = None, refusal: int = 401) -> Iterator[str]:
    """A server that has no series, and refuses whoever does not show the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers.get("Authorization") == f"Bearer {SECRET}"
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()
            body = body if good else b"who are you?\n"
            self.send_response(200 if good else refusal)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with served_by(Handler, certificate) as url:
        yield url


def ask(url: str, access: Access) -> Demand | None:
    return asyncio.run(PrometheusMetrics(url, access=access).demand("default", "chat", [], NOW))


def why(found: Demand | None) -> str:
    assert found is not None and found.window_s == 0
    return found.wrong[0]


def a_token(folder: Path, text: str = f"{SECRET}\n") -> Access:
    (file := folder / "token").write_text(text)
    return Access(token_file=file)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_token_of_a_file_is_shown(slash: str, tmp_path: Path) -> None:
    with guarded() as url:
        assert ask(url + slash, a_token(tmp_path)) is None, "it answered that there is no series"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [(401, "it answers 401 (no token, or a wrong one: see --prometheus-token-file)"), (403, "it answers 403 (its token")],
)
def test_a_wrong_token_is_told_in_the_condition_and_is_in_no_message(
    refusal: int, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing but the log told it: the pool's condition said that no sidecar had been measured yet."""
    access = a_token(tmp_path, "wr0ng-t0ken")
    with guarded(refusal=refusal) as url:
        assert why(ask(url, access)).startswith(f"Prometheus: {said}")
        assert asyncio.run(PrometheusHistory(url, access=access).read("default", "chat", {"interactive": NOW - 86_400}, NOW)) == {}
        assert why(ask(url, Access())).startswith(f"Prometheus: {said}")
    assert caplog.text.count("who are you?") == 3
    assert "wr0ng-t0ken" not in caplog.text and said in caplog.text and "history of default/chat" in caplog.text


def test_a_token_that_was_replaced_is_shown_from_then_on(tmp_path: Path) -> None:
    access = a_token(tmp_path, "expired")
    with guarded() as url:
        metrics = PrometheusMetrics(url, access=access)
        assert "401" in why(asyncio.run(metrics.demand("default", "chat", [], NOW)))
        a_token(tmp_path)
        later = asyncio.run(metrics.demand("default", "other", [], NOW + PAUSE_S))
    assert later is None, "it answered that there is no series"


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "t\u00f6ken"])
def test_a_file_that_holds_no_token_is_told_without_what_is_in_it(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with guarded() as url:
        assert why(ask(url, a_token(tmp_path, text))) == f"Prometheus: in {tmp_path / 'token'} is no token, which is one word"
        missing = why(ask(url, Access(token_file=tmp_path / "none")))
    assert missing == f"Prometheus: the token in {tmp_path / 'none'} cannot be read: No such file or directory"
    assert not text or text not in caplog.text


def test_a_certificate_of_ones_own_authority_is_checked_by_it(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate = tmp_path / "prometheus.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*made, "-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)], check=True, capture_output=True)
    token = a_token(tmp_path).token_file
    with guarded(certificate=certificate) as url:
        assert why(ask(url, Access(token))) == "Prometheus: its certificate is not trusted, see --prometheus-ca"
        assert ask(url, Access(token, certificate)) is None, "it answered that there is no series"


def test_a_ca_that_is_not_there_is_said_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["operator", "--image", "i", "--prometheus", "https://p", "--prometheus-ca", "none.pem"]) == 1
    assert "--prometheus-ca none.pem: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_a_ca_without_certificates_is_said_at_the_start(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Later it would look as if the server's certificate were not to be trusted."""
    (file := tmp_path / "ca.pem").write_text(text)
    assert main(["operator", "--image", "i", "--prometheus", "https://p", "--prometheus-ca", str(file)]) == 1
    assert f"--prometheus-ca {file}: no certificates in PEM are in it" in capsys.readouterr().err


def test_a_server_without_tls_is_not_one_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    with guarded() as url:
        found = why(ask(url.replace("http://", "https://"), a_token(tmp_path)))
    assert found == "Prometheus: it does not speak TLS as it should: is its URL http://?"


def test_a_path_that_is_missing_from_its_url_is_asked_for(tmp_path: Path) -> None:
    with guarded(refusal=404) as url:
        assert "it answers 404 (is its URL whole, with the path that it serves under" in why(ask(url, Access()))


@contextmanager
def redirecting(to: Callable[[str], str]) -> Iterator[str]:
    """A server that sends everybody on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html>log in</html>" if self.path.startswith("/login") else b""
            self.send_response(200 if page else 302)
            if not page:
                self.send_header("Location", to(self.path))
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None: ...

    with served_by(Handler) as url:
        yield url


def test_a_redirect_is_followed_and_takes_the_token_to_no_other_server(tmp_path: Path) -> None:
    with guarded() as inner, redirecting(lambda path: inner + path) as url:
        assert "401" in why(ask(url.replace("127.0.0.1", "localhost"), a_token(tmp_path)))


def test_a_redirect_to_a_page_or_to_itself_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with redirecting(lambda _: "/login") as url:
        assert why(ask(url, Access())) == "Prometheus: what it says is no answer"
    assert "<html>log in</html>" in caplog.text
    with redirecting(lambda path: path) as url:
        assert why(ask(url, Access())) == "Prometheus: it redirects without end"


@pytest.mark.parametrize("option", ["--prometheus-token-file", "--prometheus-ca"])
def test_options_of_a_prometheus_go_with_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["operator", "--image", "i", option, "x"]) == 64
    assert f"{option} goes with --prometheus URL" in capsys.readouterr().err
