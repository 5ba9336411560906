"""What a demo may have seen, with defaults; a test names only what matters to it."""

from __future__ import annotations

from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.dataplane.outcome import Outcome
from forebay.local.demo.load import Answered
from forebay.local.demo.reclaim import Reclaimed
from forebay.local.demo.summary import Seen
from forebay.local.demo.watch import PoolSample, Sample

Object = dict[str, Any]

POOL = {
    "model": {"name": "m"},
    "server": {"template": {"spec": {"containers": [{"name": "server"}]}}},
    "classes": ["interactive"],
    "profiles": [{"accelerator": "gpu", "maxConcurrency": 8, "iteration": {"base": "40ms", "perToken": "0.05ms"}}],
    "capacity": {"accelerators": [{"name": "gpu", "usdPerHour": {"onDemand": 4, "spot": 1}}], "spot": {"enabled": True}},
}


def a_class(**objectives: Object) -> BatchClassSpec:
    return BatchClassSpec.model_validate({"tier": "Interactive", "objectives": objectives or {"timeToFirstToken": {"target": "500ms"}}})


def a_pool(**spec: Any) -> InferencePoolSpec:
    return InferencePoolSpec.model_validate({**POOL, **spec})


def answered(count: int = 1, **fields: Any) -> list[Answered]:
    defaults = {"status": 200, "outcome": Outcome.FINISHED, "first_s": 0.1, "total_s": 2.0, "cache": "bypass", "output_tokens": 20}
    return [Answered(**{"batch_class": "interactive", "at_s": 1.0, **defaults, **fields}) for _ in range(count)]


def a_sample(at_s: float, on_demand: int = 1, spot: int = 0, sent: int = 0, usd_per_hour: float | None = 4.0) -> Sample:
    replicas = on_demand + spot
    return Sample(at_s, sent, 0, {"default/chat": PoolSample(replicas, replicas, on_demand, spot, usd_per_hour)})


def a_record(at: float, on_demand: int, spot: int, replicas: int | None = None, why: tuple[str, ...] = ("because",)) -> Object:
    desired = {"onDemand": on_demand, "spot": spot}
    plan = {"status": {"desired": desired}, "replicas": on_demand + spot if replicas is None else replicas, "why": list(why)}
    return {"pool": "default/chat", "snapshot": {"now": at}, "plan": plan}


def seen(**fields: Any) -> Seen:
    reclaimed = Reclaimed("spot-1", "chat-spot-x", streams=4, at_s=30.0, gone_at_s=40.0, replaced_at_s=34.5)
    defaults: Object = {
        "began": 1000.0,
        "classes": {"interactive": a_class()},
        "pools": {"default/chat": a_pool()},
        "answered": answered(10),
        "held_back": 0,
        "samples": [a_sample(float(second), sent=second) for second in range(61)],
        "decisions": [a_record(995.0, 1, 0), a_record(1010.0, 1, 1)],
        "reclaimed": reclaimed,
        "nearest": {"query": "q", "sentence": "s", "cosine": 0.5},
    }
    return Seen(**{**defaults, **fields})
