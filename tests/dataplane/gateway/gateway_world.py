"""A running gateway with everything around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from tests.dataplane.gateway.gateway_documents import a_document
from tests.dataplane.gateway.gateway_fakes import ApiServer, Sidecar

from forebay.dataplane.gateway.metrics import REGISTRY
from forebay.dataplane.gateway.run import Role, Settings
from forebay.dataplane.http.client import Client

KEY = "acme-key"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


async def until(true: Callable[[], Any], within_s: float = 10.0) -> Any:
    """Waits until something holds, and gives it."""
    async with asyncio.timeout(within_s):
        while not (found := true()):
            await asyncio.sleep(0.005)
    return found


class Got:
    """One answer, whole."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.headers if key == name.encode()), None)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class World:
    """`async with World(...)`: a running gateway, its sidecars by pool, its API server and its files."""

    def __init__(
        self, folder: Path, document: dict[str, Any] | None = None, replicas: dict[str, int] | None = None, **settings: Any
    ) -> None:
        self.folder, self._document = folder, document or a_document()
        self._replicas = replicas if replicas is not None else {"chat": 1}
        self._settings = settings
        self.api = ApiServer()
        self.sidecars: dict[str, list[Sidecar]] = {}
        self.client = Client()
        self._stop = asyncio.Event()

    @property
    def sidecar(self) -> Sidecar:
        return next(iter(self.sidecars.values()))[0]

    async def __aenter__(self) -> World:
        await self.api.start()
        for pool, count in self._replicas.items():
            self.sidecars[pool] = [Sidecar() for _ in range(count)]
            for sidecar in self.sidecars[pool]:
                await sidecar.start()
            self.publish(pool)
        self.write_key("support/acme", KEY)
        self.write_document(self._document)
        settings = Settings(
            config=self.folder / "gateway.json",
            keys=self.folder / "keys",
            kubernetes=f"http://127.0.0.1:{self.api.port}",
            credentials=self.folder / "credentials",
            decisions=str(self.folder / "decisions.jsonl"),
            **{"grace_s": 0.2, "look_every_s": 0.02, **self._settings},
        )
        self.role = Role(settings)
        self._task = asyncio.get_running_loop().create_task(self.role.run(self._stop))
        await until(lambda: self._task.done() or (self.role.port and not self.role.not_ready()))
        await until(lambda: len(self.role.fleet.endpoints()) == sum(self._replicas.values()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()
        for sidecars in self.sidecars.values():
            for sidecar in sidecars:
                await sidecar.stop()
        await self.api.stop()
        await self.client.close()

    async def stop(self) -> int:
        self._stop.set()
        return await self._task

    def publish(self, pool: str) -> None:
        self.api.put(f"{pool}-forebay", [sidecar.port for sidecar in self.sidecars[pool]])

    def write_key(self, folder: str, *keys: str) -> None:
        path = self.folder / "keys" / folder
        path.mkdir(parents=True, exist_ok=True)
        for index, key in enumerate(keys):
            (path / f"key{index}").write_text(key + "\n")

    def write_document(self, document: dict[str, Any]) -> None:
        fresh = self.folder / "gateway.json.new"
        fresh.write_bytes(orjson.dumps(document))
        fresh.rename(self.folder / "gateway.json")

    async def take_document(self, document: dict[str, Any]) -> None:
        """Writes it, and waits until it is in force."""
        self.write_document(document)
        await until(lambda: metric("forebay_gateway_config_info", hash=document["hash"]) == 1)

    async def call(self, path: str = CHAT, body: Any = None, *, method: str = "POST", key: str | None = KEY, **headers: str) -> Got:
        """One request, its answer whole. Header names are given with underscores."""
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if key is not None:
            sent.append((b"authorization", b"Bearer " + key.encode()))
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        async with await self.client.send("127.0.0.1", self.role.port, method, path, sent, raw) as reply:
            return Got(reply.status, reply.headers, await reply.read())

    async def chat(self, *, key: str | None = KEY, headers: dict[str, str] | None = None, **fields: Any) -> Got:
        return await self.call(CHAT, {"model": "support-chat", "messages": HELLO, **fields}, key=key, **(headers or {}))

    @contextlib.asynccontextmanager
    async def streaming(self, **fields: Any) -> AsyncIterator[Any]:
        """A chat stream that is being read."""
        body = orjson.dumps({"model": "support-chat", "messages": HELLO, "stream": True, **fields})
        headers = [(b"authorization", b"Bearer " + KEY.encode())]
        async with await self.client.send("127.0.0.1", self.role.port, "POST", CHAT, headers, body) as reply:
            yield reply

    def seen(self, pool: str = "chat") -> int:
        """Requests that a pool's sidecars got."""
        return sum(len(sidecar.seen) for sidecar in self.sidecars[pool])

    async def decisions(self, count: int) -> list[dict[str, Any]]:
        """Decision records, once there are so many."""
        path = self.folder / "decisions.jsonl"
        lines = await until(lambda: len(found := path.read_bytes().splitlines()) >= count and found)
        return [orjson.loads(line) for line in lines]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs an async test, and gives up on one that hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def metric(name: str, **labels: str) -> float:
    """A metric's value, 0 where it has none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextlib.contextmanager
def counted(name: str, by: float, **labels: str) -> Iterator[None]:
    """A counter moves by so much inside."""
    before = metric(name, **labels)
    yield
    assert metric(name, **labels) - before == by, name
