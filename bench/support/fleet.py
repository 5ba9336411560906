"""A made-up fleet: pools of a few kinds, as one finds them in a cluster, with a demand that rises and falls by the hour."""

from __future__ import annotations

import math
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.snapshot import Settings

Object = dict[str, Any]

CLASSES: dict[str, Object] = {
    "interactive": {"tier": "Interactive", "priority": 100, "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": "500ms"}}},
    "steady": {"tier": "NearRealTime", "priority": 50, "objectives": {"endToEnd": {"quantile": 0.95, "target": "30s"}}},
    "nightly": {"tier": "Deferred"},
}
CLASS_SPECS = {name: BatchClassSpec.model_validate(spec) for name, spec in CLASSES.items()}
SETTINGS = Settings(sidecar_image="forebay:bench")

_PRICES = {"h100": (55.0, 20.0), "a100": (32.0, 12.0), "l4": (6.4, 2.4)}
_STEPS = {"h100": ("15ms", 32), "a100": ("22ms", 24), "l4": ("35ms", 8)}
_SHAPES = ((["interactive"], ["h100"]), (["interactive", "steady"], ["h100", "a100"]), (["steady", "nightly"], ["l4", "a100"]))
_DAY_STEPS = 24


def a_pool(number: int) -> Object:
    """An InferencePool; one in three kinds, some with spot capacity."""
    classes, accelerators = _SHAPES[number % len(_SHAPES)]
    container = {"name": "server", "image": "engine:1", "args": ["--model", f"model-{number}"], "ports": [{"containerPort": 8000}]}
    return {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": f"pool-{number}", "namespace": f"team-{number % 20}"},
        "spec": {
            "model": {"name": f"model-{number}"},
            "server": {"template": {"spec": {"containers": [container]}}},
            "classes": classes,
            "profiles": [profile(name) for name in accelerators],
            "scaling": {"minReplicas": 1, "maxReplicas": 20},
            "capacity": {
                "accelerators": [accelerator(name) for name in accelerators],
                "spot": {"enabled": number % 2 == 0, "maxShare": 0.5},
            },
        },
    }


def profile(accelerator: str) -> Object:
    base, concurrency = _STEPS[accelerator]
    return {
        "accelerator": accelerator,
        "maxConcurrency": concurrency,
        "iteration": {"base": base, "perToken": "0.05ms", "perKvToken": "0.2us"},
    }


def accelerator(name: str) -> Object:
    on_demand, spot = _PRICES[name]
    return {"name": name, "gpusPerNode": 8, "usdPerHour": {"onDemand": on_demand, "spot": spot}}


def a_demand(number: int, step: float, now: float) -> Demand:
    """What a pool's sidecars would have measured at a step of a day that has 24; each pool has its own noon and its own size."""
    wave = 1 + math.sin(2 * math.pi * (step / _DAY_STEPS + number / 17))
    rate = (0.5 + number % 7) * wave
    classes = {name: _class_demand(rate / (i + 1)) for i, name in enumerate(_SHAPES[number % len(_SHAPES)][0])}
    return Demand(measured_at=now, window_s=45, source="bench", replicas_reporting=1, classes=classes)


def _class_demand(rate: float) -> ClassDemand:
    return ClassDemand(
        requests_per_s=rate, completed_per_s=rate, input_tokens_per_s=rate * 600, output_tokens_per_s=rate * 150, in_flight=rate * 3
    )
