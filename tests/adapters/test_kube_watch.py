"""Watches of `KubeCluster` over connections that break, fall silent or are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.adapters.kube_server import connected, refusal

from forebay.adapters.cluster import (
    CONFIG_MAPS,
    ClusterError,
    Event,
    Forbidden,
    NotFound,
    Object,
)


def item(name: str, version: int, uid: str | None = None) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid or name, "resourceVersion": str(version)}}


class Script:
    """Answers lists and watches, one after another, from what a test wrote down; the last watch stays open."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        watch = "watch" in request.query
        self.asked.append(f"watch {request.query['resourceVersion']}" if watch else "list")
        given = self.answers.pop(0) if self.answers else (["stay"] if watch else [])
        if isinstance(given, int):
            return web.json_response(refusal(given, f"error {given}"), status=given)
        if not watch:
            version, *items = given
            return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        for line in given:
            if line == "stay":
                await asyncio.Event().wait()
            if line == "break":
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(json.dumps(line).encode() + b"\n")
        return response


def change(kind: str, obj: Object) -> Object:
    return {"type": kind, "object": obj}


async def read(events: AsyncIterator[Event], count: int) -> list[str]:
    async with asyncio.timeout(20):
        taken = [await anext(events) for _ in range(count)]
    return [f"{event.type} {event.object['metadata']['name']}" if event.object else event.type for event in taken]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between connections are shortened; what they guard against is not tested by time."""
    monkeypatch.setattr("forebay.adapters.kube_watch._PAUSE_S", 0.001)
    monkeypatch.setattr("forebay.adapters.kube_watch._FIRST_DELAY_S", 0.001)


def watch_of(tmp_path: Path, script: Script, expected: list[str], asked: list[str], **limits: float) -> None:
    async def check() -> None:
        async with connected(tmp_path, script, **limits) as cluster:
            assert await read(aiter(cluster.watch(CONFIG_MAPS, "ns")), len(expected)) == expected
        assert script.asked[: len(asked)] == asked

    asyncio.run(check())


def test_a_watch_that_ends_goes_on_where_it_was(tmp_path: Path) -> None:
    bookmark = change("BOOKMARK", {"metadata": {"resourceVersion": "30"}})
    script = Script(
        [10, item("a", 5)],
        [change("ADDED", item("b", 11)), change("MODIFIED", item("a", 12)), bookmark],
        [change("DELETED", item("a", 31)), change("ADDED", item("a", 32, "new")), "stay"],
    )
    expected = ["ADDED a", "SYNCED", "ADDED b", "MODIFIED a", "DELETED a", "ADDED a"]
    watch_of(tmp_path, script, expected, ["list", "watch 10", "watch 30"])


@pytest.mark.parametrize(
    "end", [change("ERROR", refusal(410, "too old resource version")), "break", change("ERROR", refusal(500, "storage"))]
)
def test_what_vanished_while_the_thread_was_lost_is_reported(tmp_path: Path, end: Any) -> None:
    script = Script(
        [10, item("stays", 5), item("goes", 6), item("changes", 7), item("returns", 8)],
        [change("ADDED", item("late", 11)), end],
        [20, item("stays", 5), item("changes", 15), item("returns", 16, "new"), item("new", 17)],
        ["stay"],
    )
    before = ["ADDED stays", "ADDED goes", "ADDED changes", "ADDED returns", "SYNCED", "ADDED late"]
    after = ["DELETED goes", "DELETED returns", "DELETED late", "MODIFIED changes", "ADDED returns", "ADDED new"]
    watch_of(tmp_path, script, before + after, ["list", "watch 10", "list"])


def test_a_watch_outlives_a_server_that_is_away(tmp_path: Path) -> None:
    script = Script(503, 500, 429, [10, item("a", 5)], 410, 503, [20, item("a", 5)], [change("MODIFIED", item("a", 21)), "stay"])
    asked = ["list", "list", "list", "list", "watch 10", "list", "list", "watch 20"]
    watch_of(tmp_path, script, ["ADDED a", "SYNCED", "MODIFIED a"], asked)


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (404, NotFound)])
def test_a_watch_that_may_not_be_ends(tmp_path: Path, status: int, error: type[ClusterError]) -> None:
    async def check() -> None:
        async with connected(tmp_path, Script(status)) as cluster:
            with pytest.raises(error):
                await anext(aiter(cluster.watch(CONFIG_MAPS)))

    asyncio.run(check())


def test_a_watch_in_which_nothing_moves_is_begun_anew(tmp_path: Path) -> None:
    """A connection that died without a word must not leave the operator blind."""
    script = Script([10, item("a", 5)], ["stay"], [20, item("a", 15)], ["stay"])
    watch_of(tmp_path, script, ["ADDED a", "SYNCED", "MODIFIED a"], ["list", "watch 10", "list"], silence_s=0.1)


def test_closing_ends_watches(tmp_path: Path) -> None:
    async def check() -> None:
        async with connected(tmp_path, Script([10], ["stay"])) as cluster:
            events = aiter(cluster.watch(CONFIG_MAPS))
            assert await read(events, 1) == ["SYNCED"]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            await cluster.close()
            with pytest.raises(ClusterError):
                await asyncio.wait_for(waiting, 20)

    asyncio.run(check())
