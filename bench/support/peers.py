"""Other people's gateways, each as its own documents say to run it in production, on one worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.support.backend import nginx_conf
from bench.support.forebay_gateway import ENGINE_MODEL, KEY, MODEL
from bench.support.process import HOST, Measured, free_port, listening, running
from forebay.runtime.errors import ForebayError

LITELLM_VERSION = "1.106.2"
_LITELLM = Path.home() / ".cache/forebay/bench" / f"litellm-{LITELLM_VERSION}"
# Without these it asks the Internet for prices at the start, and logs every request.
_LITELLM_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
_LITELLM_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Peer:
    """`missing` says why it cannot run here, empty when it can; `running` gives the process and its port."""

    name: str
    missing: Callable[[], str]
    running: Callable[[Path, int], AbstractAsyncContextManager[tuple[Measured, int]]]


def wanted(names: Sequence[str] | None) -> list[Peer]:
    """The named peers, installed where need be; by default nginx, and what was installed before.

    Raises:
        ForebayError: LiteLLM was named and cannot be installed.
    """
    if names is not None and "litellm" in names and _litellm_missing():
        _install_litellm()
    return [peer for name, peer in ALL.items() if names is None or name in names]


def _nginx_missing() -> str:
    return "" if shutil.which("nginx") else "nginx is not on the PATH: apt-get install nginx-light"


@asynccontextmanager
async def _nginx(folder: Path, backend_port: int) -> AsyncIterator[tuple[Measured, int]]:
    port, place = free_port(), folder / "proxy"
    place.mkdir()
    upstream = f"upstream engine {{ server {HOST}:{backend_port}; keepalive 64; keepalive_requests 1000000000; }}"
    location = "location / { proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ''; }"
    conf = place / "nginx.conf"
    conf.write_text(nginx_conf(place, f"{upstream} server {{ listen {HOST}:{port}; {location} }}"))
    async with running("nginx", ["nginx", "-p", str(place), "-c", str(conf)], folder) as process:
        await listening(process, port, folder)
        yield process, port


def _litellm_missing() -> str:
    return "" if (_LITELLM / "bin/litellm").exists() else "not installed: python -m bench gateway --peers nginx,litellm"


def _install_litellm() -> None:
    """Into an environment of its own, kept for the next run: nothing of it is this project's dependency."""

    print(f"bench: installing litellm {LITELLM_VERSION} into {_LITELLM}", file=sys.stderr)
    pip = [str(_LITELLM / "bin/python"), "-m", "pip", "install", "--quiet", f"litellm[proxy]=={LITELLM_VERSION}"]
    for argv in ([sys.executable, "-m", "venv", str(_LITELLM)], pip):
        if subprocess.run(argv, check=False, stdout=sys.stderr).returncode:
            shutil.rmtree(_LITELLM, ignore_errors=True)
            raise ForebayError(f"litellm {LITELLM_VERSION} cannot be installed; --peers nginx leaves it out")


@asynccontextmanager
async def _litellm(folder: Path, backend_port: int) -> AsyncIterator[tuple[Measured, int]]:
    port, config = free_port(), folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n- model_name: {MODEL}\n  litellm_params:\n    model: openai/{ENGINE_MODEL}\n"
        f"    api_base: http://{HOST}:{backend_port}/v1\n    api_key: none\n"
        f"general_settings:\n  master_key: {KEY}\n"
    )
    argv = [str(_LITELLM / "bin/litellm"), "--config", str(config), "--host", HOST, "--port", str(port), "--num_workers", "1"]
    async with running("litellm", argv, folder, env=_LITELLM_ENV) as process:
        await listening(process, port, folder, _LITELLM_START_S)
        yield process, port


NGINX = Peer("nginx proxy_pass", _nginx_missing, _nginx)
LITELLM = Peer(f"LiteLLM {LITELLM_VERSION}", _litellm_missing, _litellm)
ALL = {"nginx": NGINX, "litellm": LITELLM}
