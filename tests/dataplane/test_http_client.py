"""The HTTP client against servers that behave, stall, break off and lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.dataplane.wires import echo, serving, soon, until

from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.http.headers import end_to_end
from forebay.dataplane.http.server import Request, Response

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """A server that does exactly what its script says, once for each connection."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    made = Client()
    try:
        yield made
    finally:
        await made.close()


def saying(raw: bytes, *, then_wait: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        if then_wait:
            await reader.read()

    return script


def test_sends_and_reads_and_keeps_the_connection() -> None:
    peers: set[str] = set()

    async def who(request: Request, response: Response) -> None:
        peers.add(str(request.header(b"host")))
        await echo(request, response)

    async def main() -> None:
        async with serving(who) as server, client() as upstream:
            for body in (b"", b"one", b"x" * 100_000):
                reply = await upstream.send("127.0.0.1", server.port, "POST", "/p", [(b"x-a", b"b")], body)
                assert (reply.status, reply.header(b"content-length")) == (200, b"%d" % (len(body) + 8))
                assert await reply.read() == b"POST /p " + body
            assert len(server._connections) == 1
        assert peers == {f"b'127.0.0.1:{server.port}'"}

    asyncio.run(main())


def test_an_answer_in_pieces() -> None:
    async def stream(request: Request, response: Response) -> None:
        response.start(200)
        for n in range(3):
            await response.write(b"%d" % n)
            await asyncio.sleep(0.01)
        response.end()

    async def main() -> None:
        async with serving(stream) as server, client() as upstream, await upstream.send("127.0.0.1", server.port, "GET", "/") as reply:
            assert [chunk async for chunk in reply] == [b"0", b"1", b"2"]

    asyncio.run(main())


def test_head_interim_and_endless_answers() -> None:
    async def main() -> None:
        async with client() as upstream:
            async with scripted(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", then_wait=True)) as port:
                reply = await soon(upstream.send("127.0.0.1", port, "HEAD", "/"))
                assert (reply.status, await soon(reply.read())) == (200, b"")
            interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            async with scripted(saying(interim)) as port:
                reply = await soon(upstream.send("127.0.0.1", port, "GET", "/"))
                assert (reply.status, reply.header(b"link"), await soon(reply.read())) == (200, None, b"hi")
            async with scripted(saying(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")) as port:
                reply = await soon(upstream.send("127.0.0.1", port, "GET", "/"))
                assert await soon(reply.read()) == b"until the end"

    asyncio.run(main())


BROKEN = {
    "not http": (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol"),
    "nothing at all": (b"", "closed"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le", "closed"),
    "half a body": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "closed"),
    "half the chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "closed"),
    "a head without end": (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "protocol"),
    "heads without end": (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 10_000, "protocol"),
    "trailers without end": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 1_000_000, "protocol"),
    "a chunk size that is none": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "protocol"),
    "a chunk longer than its size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", "protocol"),
    "length and chunks": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "protocol"),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "protocol"),
    "a status that is none": (b"HTTP/1.1 2xx OK\r\n\r\n", "protocol"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "protocol"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error_and_never_a_short_one(name: str) -> None:
    raw, kind = BROKEN[name]

    async def main() -> None:
        async with client() as upstream, scripted(saying(raw)) as port:
            with pytest.raises(UpstreamError) as raised:
                await soon((await soon(upstream.send("127.0.0.1", port, "GET", "/"))).read())
            assert raised.value.kind == kind

    asyncio.run(main())


@pytest.mark.parametrize(
    "extra", [b"204 No Content\r\n\r\nbody", b"304 Not Modified\r\n\r\nbody", b"200 OK\r\ncontent-length: 2\r\n\r\nhimore"]
)
def test_what_comes_after_an_answer_is_not_given_to_the_next_request(extra: bytes) -> None:
    async def main() -> None:
        async with client() as upstream, scripted(saying(b"HTTP/1.1 " + extra, then_wait=True)) as port:
            for _ in range(2):
                reply = await soon(upstream.send("127.0.0.1", port, "GET", "/"))
                assert (reply.status, await soon(reply.read())) == (int(extra[:3]), b"hi" if extra.startswith(b"200") else b"")

    asyncio.run(main())


def test_time_runs_out() -> None:
    async def main() -> None:
        async with client() as upstream:
            async with scripted(saying(b"", then_wait=True)) as port:
                with pytest.raises(UpstreamError) as raised:
                    await soon(upstream.send("127.0.0.1", port, "GET", "/", first_byte_timeout_s=0.05))
                assert raised.value.kind == "timeout"
            for framing in (b"content-length: 10\r\n", b""):
                async with scripted(saying(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\nhalf", then_wait=True)) as port:
                    reply = await soon(upstream.send("127.0.0.1", port, "GET", "/", idle_timeout_s=0.05))
                    with pytest.raises(UpstreamError) as raised:
                        await soon(reply.read())
                    assert raised.value.kind == "timeout"

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        async with serving(echo) as server:
            port = server.port
        async with client() as upstream:
            with pytest.raises(UpstreamError) as raised:
                await upstream.send("127.0.0.1", port, "GET", "/")
            assert raised.value.kind == "connect"

    asyncio.run(main())


def test_a_stale_kept_connection_is_replaced_once() -> None:
    """Engines close idle connections after a few seconds; a request may meet one in that very moment."""
    seen: list[bytes] = []

    async def closes_on_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        seen.append(await reader.readuntil(b"\r\n\r\n"))

    async def main() -> None:
        async with client() as upstream, scripted(closes_on_second) as port:
            for _ in range(2):
                assert await soon((await upstream.send("127.0.0.1", port, "GET", "/")).read()) == b"ok"
            assert len(seen) == 3

    asyncio.run(main())


def test_a_kept_connection_that_fails_amid_its_answer_is_not_tried_again() -> None:
    count = 0

    async def breaks_on_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        for raw in (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"HTTP/1.1 2"):
            await reader.readuntil(b"\r\n\r\n")
            count += 1
            writer.write(raw)

    async def main() -> None:
        async with client() as upstream, scripted(breaks_on_second) as port:
            await (await upstream.send("127.0.0.1", port, "GET", "/")).read()
            with pytest.raises(UpstreamError):
                await soon(upstream.send("127.0.0.1", port, "GET", "/"))
            assert count == 2

    asyncio.run(main())


def test_an_answer_that_nobody_asked_for_is_not_given_to_the_next_request() -> None:
    async def talks_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await reader.read()

    async def main() -> None:
        async with client() as upstream, scripted(talks_too_much) as port:
            for _ in range(3):
                assert await soon((await upstream.send("127.0.0.1", port, "GET", "/")).read()) == b"ok"

    asyncio.run(main())


def test_closing_or_cancelling_is_seen_by_the_other_side() -> None:
    async def main() -> None:
        gone = asyncio.Semaphore(0)

        async def endless(request: Request, response: Response) -> None:
            try:
                if request.path != "/silent":
                    response.start(200)
                    await response.write(b"first")
                await asyncio.sleep(60)
            finally:
                gone.release()

        async with serving(endless) as server, client() as upstream:
            reply = await upstream.send("127.0.0.1", server.port, "GET", "/")
            assert await anext(reply) == b"first"
            reply.close()
            await soon(gone.acquire())

            reading = asyncio.ensure_future((await upstream.send("127.0.0.1", server.port, "GET", "/")).read())
            waiting = asyncio.ensure_future(upstream.send("127.0.0.1", server.port, "GET", "/silent"))
            await until(lambda: len(server._connections) == 2)
            for task in (reading, waiting):
                task.cancel()
                await soon(gone.acquire())

    asyncio.run(main())


def test_a_reader_that_is_slow_slows_the_sender_down() -> None:
    written = 0

    async def flood(request: Request, response: Response) -> None:
        nonlocal written
        response.start(200)
        for _ in range(400):
            await response.write(b"x" * 65536)
            written += 1
        response.end()

    async def main() -> None:
        async with serving(flood) as server, client() as upstream:
            reply = await upstream.send("127.0.0.1", server.port, "GET", "/")
            previous = -1
            while written != previous:
                previous = written
                await asyncio.sleep(0.05)
            assert written < 300
            assert len(await reply.read()) == 400 * 65536
            assert await (await upstream.send("127.0.0.1", server.port, "HEAD", "/")).read() == b""

    asyncio.run(main())


def test_an_answer_that_is_too_long_is_refused() -> None:
    async def main() -> None:
        async with serving(echo) as server, client() as upstream:
            reply = await upstream.send("127.0.0.1", server.port, "POST", "/", [], b"x" * 1000)
            with pytest.raises(UpstreamError) as raised:
                await reply.read(max_bytes=100)
            assert raised.value.kind == "protocol"

    asyncio.run(main())


def test_no_more_is_kept_than_allowed() -> None:
    async def main() -> None:
        upstream = Client(max_idle_per_host=2)
        async with serving(echo) as server:
            replies = await asyncio.gather(*(upstream.send("127.0.0.1", server.port, "GET", "/") for _ in range(6)))
            assert {await reply.read() for reply in replies} == {b"GET / "}
            await until(lambda: len(server._connections) == 2)
            await upstream.close()
            await until(lambda: not server._connections)

    asyncio.run(main())


@pytest.mark.parametrize(("path", "headers"), [("/\r\nx: y", []), ("/", [(b"x-request-id", b"a\r\nx-forebay-tenant: b")])])
def test_a_line_break_cannot_get_into_a_request(path: str, headers: list[tuple[bytes, bytes]]) -> None:
    async def main() -> None:
        async with serving(echo) as server, client() as upstream:
            with pytest.raises(ValueError, match="line break"):
                await upstream.send("127.0.0.1", server.port, "GET", path, headers)

    asyncio.run(main())


def test_headers_of_one_connection_are_not_passed_on() -> None:
    headers = [(b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"transfer-encoding", b"chunked"), (b"x-kept", b"2"), (b"host", b"h")]
    assert end_to_end(headers) == [(b"x-kept", b"2")]
