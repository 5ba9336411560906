"""The backend behind every front: answers at once with half a kilobyte, and tells a gateway that it is idle."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from bench.support.process import HOST, free_port, listening, running
from forebay.dataplane.http.message import Request, Response
from forebay.dataplane.http.server import serve

ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "engine-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes, it can. " * 20}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 180, "completion_tokens": 80, "total_tokens": 260},
    }
)
_LOAD = orjson.dumps({"queued": 0, "inFlight": 0, "limit": 1024, "draining": False})
_JSON = [(b"content-type", b"application/json")]


def nginx_conf(folder: Path, http: str) -> str:
    """A configuration with one worker that keeps all its files in the folder and never closes a connection for its age."""
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; {temporary} default_type application/json; {http} }}
"""


@asynccontextmanager
async def backend(folder: Path) -> AsyncIterator[int]:
    """Runs it and gives its port: nginx where there is one, else a server in this process."""
    if shutil.which("nginx") is None:
        server = await serve(_answer, HOST, 0)
        try:
            yield server.port
        finally:
            await server.close(0.0)
        return
    port, place = free_port(), folder / "backend"
    place.mkdir()
    locations = f"location / {{ return 200 '{ANSWER.decode()}'; }} location = /load {{ return 200 '{_LOAD.decode()}'; }}"
    conf = place / "nginx.conf"
    conf.write_text(nginx_conf(place, f"server {{ listen {HOST}:{port}; {locations} }}"))
    async with running("backend", ["nginx", "-p", str(place), "-c", str(conf)], folder, core=-1) as process:
        await listening(process, port, folder)
        yield port


async def _answer(request: Request, response: Response) -> None:
    response.send(200, _LOAD if request.path == "/load" else ANSWER, _JSON)
