"""The HTTP server against clients that behave, stall, flood and lie."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest
import uvloop
from tests.dataplane.wires import echo, serving, soon, until, wire_to

from forebay.dataplane.http.server import Limits, Request, Response

Run = Callable[[Coroutine[Any, Any, None]], None]

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runs(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return runs


def post(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"POST /b?q=1 HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *headers, b"", body])


def test_answers_and_keeps_the_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            for body in (b"one", b"", b"three"):
                wire.send(post(body))
                status, headers, answer = await wire.answer()
                assert (status, answer) == (200, b"POST /b " + body)
                assert b"connection" not in headers
                assert headers[b"date"].endswith(b"GMT")

    run(main())


def test_pipelined_requests_are_answered_one_at_a_time_and_in_order(run: Run) -> None:
    running = 0

    async def slow_first(request: Request, response: Response) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.02 if request.body == b"0" else 0)
        running -= 1
        response.send(200, request.body)

    async def main() -> None:
        async with serving(slow_first) as server, wire_to(server.port) as wire:
            wire.send(b"".join(post(b"%d" % n) for n in range(20)))
            await asyncio.sleep(0)
            wire.send(b"".join(post(b"%d" % n) for n in range(20, 40)))
            for n in range(40):
                assert (await wire.answer())[::2] == (200, b"%d" % n)

    run(main())


def test_a_client_that_sends_far_ahead_is_not_buffered_without_end(run: Run) -> None:
    release = asyncio.Event()

    async def held(request: Request, response: Response) -> None:
        await release.wait()
        response.send(200, request.body)

    async def main() -> None:
        async with serving(held) as server, wire_to(server.port) as wire:
            requests = b"".join(post(b"x" * 10_000) for _ in range(2_000))
            wire.send(requests)
            flushed = asyncio.ensure_future(wire.writer.drain())
            await asyncio.sleep(0.1)
            assert not flushed.done()
            release.set()
            for _ in range(2_000):
                assert (await wire.answer())[2] == b"x" * 10_000

    run(main())


def test_chunked_answers_and_bodies(run: Run) -> None:
    async def stream(request: Request, response: Response) -> None:
        response.start(200, [(b"content-type", b"text/event-stream")])
        for word in request.body.split(b" "):
            await response.write(word)
        await response.write(b"")
        response.end()

    async def main() -> None:
        async with serving(stream) as server, wire_to(server.port) as wire:
            for _ in range(2):
                wire.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na b\r\n2\r\n c\r\n0\r\n\r\n")
                status, headers, body = await wire.answer()
                assert (status, headers[b"content-type"], body) == (200, b"text/event-stream", b"abc")

    run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_head_gets_the_head_alone(run: Run, streamed: bool) -> None:
    async def answer(request: Request, response: Response) -> None:
        if not streamed:
            response.send(200, b"body")
            return
        response.start(200)
        await response.write(b"body")
        response.end()

    async def main() -> None:
        async with serving(answer) as server, wire_to(server.port) as wire:
            wire.send(GET.replace(b"GET", b"HEAD"))
            status, headers = await wire.head()
            assert status == 200
            assert (b"transfer-encoding" in headers) == streamed
            wire.send(GET)
            assert (await wire.answer())[2] == b"body"

    run(main())


def test_no_content_has_no_length(run: Run) -> None:
    async def nothing(request: Request, response: Response) -> None:
        response.send(204)

    async def main() -> None:
        async with serving(nothing) as server, wire_to(server.port) as wire:
            wire.send(GET + GET)
            for _ in range(2):
                status, headers = await wire.head()
                assert status == 204 and b"content-length" not in headers

    run(main())


def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(run: Run) -> None:
    async def stream(request: Request, response: Response) -> None:
        response.start(200)
        await response.write(b"ab")
        response.end()

    async def main() -> None:
        async with serving(stream) as server, wire_to(server.port) as wire:
            wire.send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            raw = await wire.rest()
            assert raw.endswith(b"\r\n\r\nab") and b"transfer-encoding" not in raw and b"connection: close" in raw

    run(main())


def test_continue_is_sent_before_the_body_and_after_earlier_answers(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            wire.send(GET + b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
            assert (await wire.answer())[2] == b"GET /a "
            assert await soon(wire.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(b"hi")
            assert (await wire.answer())[2] == b"POST / hi"

    run(main())


def test_an_upgrade_is_answered_as_a_plain_request(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n"
            wire.send(b"GET /a HTTP/1.1\r\n" + upgrade + b"PRI * HTTP/2.0\r\n\r\n")
            status, headers, body = await wire.answer()
            assert (status, headers[b"connection"], body) == (200, b"close", b"GET /a ")
            assert await wire.rest() == b""

    run(main())


@pytest.mark.parametrize("framing", [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_that_came_with_an_upgrade_was_lost(run: Run, framing: bytes, size: int) -> None:
    """Java's HttpClient asks for h2c with the first request of every connection."""

    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            data = b"POST /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n" + framing
            for at in range(0, len(data), size):
                wire.send(data[at : at + size])
                await asyncio.sleep(0)
            assert (await wire.answer())[2] == b"POST /a body"
            wire.send(GET)
            assert (await wire.answer())[2] == b"GET /a "

    run(main())


def test_connect_is_answered_and_ends(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            wire.send(b"CONNECT a:1 HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody")
            assert (await wire.answer())[2] == b"CONNECT a:1 "
            assert await wire.rest() == b""

    run(main())


def test_an_absolute_target_is_its_path(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as server, wire_to(server.port) as wire:
            wire.send(b"GET http://host:80/v1/models?x=1 HTTP/1.1\r\nhost: host\r\n\r\n")
            assert (await wire.answer())[2] == b"GET /v1/models "

    run(main())


REFUSED = {
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a bad header": (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    "a null byte in the path": (b"GET /a\0b HTTP/1.1\r\n\r\n", 400),
    "a null byte in a header": (b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", 400),
    "bytes that are no path": (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
    "an unknown method": (b"FROB / HTTP/1.1\r\n\r\n", 400),
    "another version": (b"GET / HTTP/2.0\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "lines that end with a line feed alone": (b"GET / HTTP/1.1\nhost: x\n\n", 400),
    "a header that ends with a line feed alone": (b"GET / HTTP/1.1\r\nhost: x\ny: z\r\n\r\n", 400),
    "a header that goes on in the next line": (b"GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
    "the same length twice": (b"POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", 400),
    "a length with a sign": (b"POST / HTTP/1.1\r\ncontent-length: +2\r\n\r\nab", 400),
    "a length beyond 64 bits": (b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\nab", 400),
    "chunks that are not the last coding": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "a space before the colon": (b"POST / HTTP/1.1\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk size that is no number": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400),
    "a chunk size beyond 64 bits": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\na", 400),
    "a chunk longer than its size": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
    "length and chunks": (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 400, 431),
    "a long path": (b"GET /" + b"x" * 1500, 431),
    "a header without end": (b"GET / HTTP/1.1\r\nx: " + b"y" * 5000, 431),
    "a long body declared": (b"POST / HTTP/1.1\r\ncontent-length: 5001\r\n\r\n", 413),
    "a long body in chunks": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n", 413),
    "trailers without end": (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 5000, 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_an_answer_that_arrives_though_the_client_goes_on_sending(run: Run, name: str) -> None:
    beginning, expected = REFUSED[name]

    async def main() -> None:
        async with serving(echo, Limits(max_header_bytes=1000, max_body_bytes=5000)) as server, wire_to(server.port) as wire:
            for at in range(0, len(beginning), 100):
                wire.send(beginning[at : at + 100])
                await asyncio.sleep(0)
            if beginning.endswith(b"x\r\n"):
                wire.send((b"400\r\n" + b"x" * 1024 + b"\r\n") * 100)
            status, headers, body = await wire.answer()
            assert status == expected
            assert headers[b"connection"] == b"close"
            assert orjson.loads(body)["error"]["message"]
            assert await wire.rest() == b""

    run(main())


def test_slow_clients_are_let_go(run: Run) -> None:
    """A slowloris: a header, or a body, that is always about to be complete."""

    async def main() -> None:
        limits = Limits(header_timeout_s=0.1, body_timeout_s=0.1, keep_alive_s=0.1)
        async with serving(echo, limits) as server:
            for beginning, expected in ((b"GET / HTTP/1.1\r\nx", 408), (b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nab", 408)):
                async with wire_to(server.port) as wire:
                    wire.send(beginning)
                    assert (await wire.answer())[0] == expected
                    assert await wire.rest() == b""
            async with wire_to(server.port) as silent:
                assert await silent.rest() == b""
            async with wire_to(server.port) as kept:
                kept.send(GET)
                assert (await kept.answer())[0] == 200
                assert await kept.rest() == b""

    run(main())


def test_one_connection_too_many_is_told_so(run: Run) -> None:
    async def main() -> None:
        async with serving(echo, Limits(max_connections=1)) as server, wire_to(server.port) as first:
            first.send(GET)
            assert (await first.answer())[0] == 200
            async with wire_to(server.port) as second:
                second.send(GET)
                status, headers, _ = await second.answer()
                assert (status, headers[b"retry-after"]) == (503, b"1")
                assert await second.rest() == b""
            first.send(GET)
            assert (await first.answer())[0] == 200

    run(main())


def test_bodies_of_all_connections_together_are_bounded(run: Run) -> None:
    """Each within its own bound, a few dozen clients without a key would fill the pod's memory."""
    release = asyncio.Event()

    async def held(request: Request, response: Response) -> None:
        await release.wait()
        response.send(200, b"%d" % len(request.body))

    async def main() -> None:
        body = b"x" * 600
        async with serving(held, Limits(max_bodies_bytes=1000)) as server, wire_to(server.port) as first, wire_to(server.port) as second:
            first.send(post(body))
            await until(lambda: server.room.left == 400)
            second.send(post(body))
            status, headers, _ = await second.answer()
            assert (status, headers[b"retry-after"]) == (503, b"1")
            async with wire_to(server.port) as third:
                third.send(post(body[:300] + b"y" * 400)[:-400])
                await until(lambda: server.room.left == 100)
            await until(lambda: server.room.left == 400)
            release.set()
            assert (await first.answer())[2] == b"600"
            assert server.room.left == 1000
            first.send(post(body))
            assert (await first.answer())[2] == b"600"

    run(main())


def test_a_handler_that_fails_is_a_500_and_one_log_line(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(request: Request, response: Response) -> None:
        raise KeyError("inner detail")

    async def main() -> None:
        async with serving(fails) as server, wire_to(server.port) as wire:
            wire.send(GET + GET)
            for _ in range(2):
                status, _, body = await wire.answer()
                assert status == 500
                assert orjson.loads(body)["error"]["type"] == "server_error"
                assert b"inner detail" not in body

    with caplog.at_level(logging.ERROR):
        run(main())
    assert [record.getMessage() for record in caplog.records] == ["a handler failed"] * 2


def test_a_handler_that_fails_amid_its_answer_breaks_it_off(run: Run) -> None:
    async def fails(request: Request, response: Response) -> None:
        response.start(200)
        await response.write(b"half")
        await asyncio.sleep(0.02)
        raise KeyError

    async def main() -> None:
        async with serving(fails) as server, wire_to(server.port) as wire:
            wire.send(GET)
            await wire.head()
            try:
                rest = await wire.rest()
            except ConnectionResetError:
                rest = b""
            assert not rest.endswith(b"0\r\n\r\n")

    run(main())


def test_a_handler_that_does_not_answer_is_a_500(run: Run) -> None:
    async def forgets(request: Request, response: Response) -> None:
        pass

    async def main() -> None:
        async with serving(forgets) as server, wire_to(server.port) as wire:
            wire.send(GET)
            assert (await wire.answer())[0] == 500

    run(main())


def test_a_line_break_cannot_get_into_a_header(run: Run) -> None:
    async def careless(request: Request, response: Response) -> None:
        response.send(200, b"", [(b"x-name", request.query.encode() + b"\r\nset-cookie: a=b")])

    async def main() -> None:
        async with serving(careless) as server, wire_to(server.port) as wire:
            wire.send(GET)
            status, headers, _ = await wire.answer()
            assert status == 500 and b"set-cookie" not in headers

    run(main())


def test_a_client_that_goes_away_cancels_its_handler(run: Run) -> None:
    async def main() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def waits(request: Request, response: Response) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with serving(waits) as server:
            async with wire_to(server.port) as wire:
                wire.send(GET)
                await soon(begun.wait())
            await soon(cancelled.wait())

    run(main())


def test_work_after_the_answer_is_not_cancelled_with_the_client(run: Run) -> None:
    async def main() -> None:
        recorded, gone = asyncio.Event(), asyncio.Event()

        async def records(request: Request, response: Response) -> None:
            response.send(200)
            await gone.wait()
            await asyncio.sleep(0.02)
            recorded.set()

        async with serving(records) as server:
            async with wire_to(server.port) as wire:
                wire.send(GET)
                await wire.answer()
            gone.set()
            await soon(recorded.wait())

    run(main())


def test_a_client_that_reads_slowly_slows_the_writer_down(run: Run) -> None:
    written = 0

    async def flood(request: Request, response: Response) -> None:
        nonlocal written
        response.start(200)
        for _ in range(400):
            await response.write(b"x" * 65536)
            written += 1
        response.end()

    async def main() -> None:
        async with serving(flood) as server, wire_to(server.port) as wire:
            wire.send(GET)
            await until(lambda: written > 0)
            previous = -1
            while written != previous:
                previous = written
                await asyncio.sleep(0.05)
            assert written < 300
            assert len((await wire.answer())[2]) == 65536 * 400

    run(main())


def test_a_client_that_reads_nothing_is_let_go(run: Run) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def flood(request: Request, response: Response) -> None:
            response.start(200)
            try:
                while True:
                    await response.write(b"x" * 65536)
            finally:
                ended.set()

        async with serving(flood, Limits(write_timeout_s=0.2)) as server, wire_to(server.port) as wire:
            wire.send(GET)
            await soon(ended.wait())

    run(main())


def test_close_waits_for_what_is_under_way_and_hangs_up_on_the_idle(run: Run) -> None:
    async def main() -> None:
        begun, release = asyncio.Event(), asyncio.Event()

        async def waits(request: Request, response: Response) -> None:
            begun.set()
            await release.wait()
            response.send(200, b"done")

        async with serving(waits) as server, wire_to(server.port) as busy, wire_to(server.port) as idle:
            busy.send(GET)
            await soon(begun.wait())
            closing = asyncio.ensure_future(server.close(5))
            assert await idle.rest() == b""
            assert not closing.done()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", server.port)
            release.set()
            _, headers, body = await busy.answer()
            assert (headers[b"connection"], body) == (b"close", b"done")
            busy.close()
            await soon(closing)

    run(main())


def test_close_cancels_what_outlasts_the_grace(run: Run) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def waits(request: Request, response: Response) -> None:
            begun.set()
            await asyncio.sleep(60)

        async with serving(waits) as server, wire_to(server.port) as wire:
            wire.send(GET)
            await soon(begun.wait())
            closing = asyncio.ensure_future(server.close(0.05))
            assert (await wire.answer())[0] == 503
            wire.close()
            await soon(closing)

    run(main())
