"""`forebay profile` does not load what it should not."""

from __future__ import annotations

import socket

import pytest
from tests.cli.engines import beside, profile

from forebay.cli.main import main
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.profiling.guard import LOOKS

VLLM = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} %d\n'


def test_an_engine_that_serves_others_is_not_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with beside(busy=3) as port:
        assert profile(port) == 2
    told = capsys.readouterr()
    assert "has 3 requests of others now" in told.err and "--overload" in told.err and told.out == ""


def test_a_public_address_is_not_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "http://192.88.99.1:9", "--model", "m"]) == 2
    assert "is a public address" in capsys.readouterr().err


def with_metrics(*texts: bytes) -> tuple[Handler, list[str]]:
    """An endpoint whose metrics are these, look after look; and what it was asked."""
    asked: list[str] = []

    async def handler(request: Request, response: Response) -> None:
        asked.append(f"{request.method} {request.path}")
        looks = asked.count("GET /metrics")
        if request.path == "/metrics" and texts:
            response.send(200, texts[min(looks, len(texts)) - 1])
        else:
            response.send(404 if request.method == "GET" else 500, b"loaded")

    return handler, asked


def test_an_engine_that_serves_others_now_and_then_is_not_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    handler, asked = with_metrics(VLLM % 0, VLLM % 0, VLLM % 0, VLLM % 1, VLLM % 0)
    with beside(handler=handler) as port:
        assert profile(port, "--model", "m") == 2
    assert "has 1 requests of others now" in capsys.readouterr().err and not any(what.startswith("POST") for what in asked)


def test_an_idle_engine_is_looked_at_and_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    handler, asked = with_metrics(VLLM % 0)
    with beside(handler=handler) as port:
        assert profile(port, "--model", "m", "--seconds", "1") == 1
    assert "the engine answers 500: loaded" in capsys.readouterr().err and asked.count("GET /metrics") == LOOKS + 1


def own_address() -> str:
    """Where this machine is reached from others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize("metrics", [(), (b"# TYPE nginx_requests counter\nnginx_requests 7\n",)])
def test_what_is_elsewhere_and_of_no_known_engine_is_not_loaded(metrics: tuple[bytes, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A user's own engine on this machine needs no metrics; another's service may be anything."""
    host = own_address()
    handler, asked = with_metrics(*metrics)
    with beside(handler=handler, host="0.0.0.0") as port:
        assert main(["profile", f"http://{host}:{port}", "--model", "m", "--seconds", "1"]) == 2
        told = capsys.readouterr().err
        assert "its /metrics are of no engine that is known (VLLM, SGLang, TGI, TEI, LlamaCpp)" in told and "say --overload" in told
        assert not any(what.startswith("POST") for what in asked)
        for url, *args in ((f"http://{host}:{port}", "--overload"), (f"http://127.0.0.1:{port}",)):
            assert main(["profile", url, "--model", "m", "--seconds", "1", *args]) == 1
            assert "the engine answers 500: loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [b"# HELP te_request_count n\nte_request_count 0\n", b"tgi_request_count 0\n", b"llamacpp:n_decode_total 0\n"]
)
def test_an_engine_that_was_never_asked_is_known_by_what_its_metrics_are_called(text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    host = own_address()
    handler, _ = with_metrics(text)
    with beside(handler=handler, host="0.0.0.0") as port:
        assert main(["profile", f"http://{host}:{port}", "--model", "m", "--seconds", "1"]) == 1
    assert "the engine answers 500: loaded" in capsys.readouterr().err
