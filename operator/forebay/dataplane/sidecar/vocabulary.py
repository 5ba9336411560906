"""Each engine's own metrics in one vocabulary. The names are data: one table, the newest name of a metric first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

WAITING = "forebay_engine_requests_waiting"
RUNNING = "forebay_engine_requests_running"
KV_CACHE = "forebay_engine_kv_cache_usage_ratio"

# Requests add up over the ranks and models of one server; a cache is as full as its fullest rank.
_TOGETHER: Mapping[str, Callable[[Iterable[float]], float]] = {WAITING: sum, RUNNING: sum, KV_CACHE: max}

NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "VLLM": {
        WAITING: ("vllm:num_requests_waiting",),
        RUNNING: ("vllm:num_requests_running",),
        KV_CACHE: ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    },
    "SGLang": {
        WAITING: ("sglang:num_queue_reqs",),
        RUNNING: ("sglang:num_running_reqs",),
        KV_CACHE: ("sglang:token_usage",),
    },
    "TGI": {WAITING: ("tgi_queue_size",), RUNNING: ("tgi_batch_current_size",)},
    "TEI": {WAITING: ("te_queue_size",)},
    "LlamaCpp": {WAITING: ("llamacpp:requests_deferred",), RUNNING: ("llamacpp:requests_processing",)},
}

# Only the few wanted lines are read: parsing the whole of a big engine's metrics would hold up streams for tens of milliseconds.
_LABELS = rb'(?:\{(?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*\})?'
# Sums of what is believed stay finite.
_MOST = 1e15
_LINES = {
    name: re.compile(rb"^" + re.escape(name).encode() + _LABELS + rb"[ \t]+(\S+)", re.MULTILINE)
    for kinds in NAMES.values()
    for names in kinds.values()
    for name in names
}


def translate(kind: str, text: bytes) -> dict[str, float]:
    """The values that an engine of this kind reports in its metrics text. What is not there is not in the answer."""
    found: dict[str, float] = {}
    for ours, names in NAMES.get(kind, {}).items():
        for name in names:
            values = [value for value in map(_number, _LINES[name].findall(text)) if value is not None]
            if values:
                found[ours] = _TOGETHER[ours](values)
                break
    return found


def _number(raw: bytes) -> float | None:
    try:
        value = float(raw)
    except ValueError:
        return None
    return value if 0 <= value <= _MOST else None
