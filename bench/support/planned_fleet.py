"""A fleet in full use, for `bench.planner`: every pool has four variants with replicas on nodes, several classes, and weeks behind it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from bench.support.fleet import CLASS_SPECS, SETTINGS, Object, accelerator, profile
from bench.support.learned import PHASES, wave
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.decision import Plan
from forebay.planning.measured import ClassDemand, Demand, PromptMeetings
from forebay.planning.memory import Memory
from forebay.planning.snapshot import DeploymentView, NodePoolView, NodeView, PodView, PoolIdentity, Snapshot
from forebay.planning.variants import LABEL_NODE_POOL, Variant, node_pool_name, preferred_profile
from forebay.planning.workload import deployment_name, template_hash

INPUT_TOKENS, OUTPUT_TOKENS = 600, 150
NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"}
STARTING_S = 20.0
DAY_S = 86400.0

_KINDS = (
    (["interactive", "steady"], ["h100", "a100"]),
    (["interactive", "steady", "nightly"], ["a100", "h100"]),
    (["steady", "nightly"], ["l4", "a100"]),
)
"""Classes and accelerators of three kinds of pool."""


def own_profile(number: int, accelerator: str) -> Object:
    """A profile that no other pool has, up to a fifth slower than the kind's: what is remembered of one pool is of no use to another."""
    found = profile(accelerator)
    slower = 1 + 0.2 * (number * 0.618 % 1)
    return found | {"iteration": found["iteration"] | {"base": f"{slower * float(found['iteration']['base'].removesuffix('ms')):.6g}ms"}}


def a_planned_pool(number: int) -> Object:
    """An InferencePool on two accelerators and both capacity types, with nodes by Karpenter."""
    classes, accelerators = _KINDS[number % len(_KINDS)]
    container = {"name": "server", "image": "engine:1", "args": ["--model", f"model-{number}"], "ports": [{"containerPort": 8000}]}
    return {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": f"pool-{number}", "namespace": f"team-{number % 20}"},
        "spec": {
            "model": {"name": f"model-{number}"},
            "server": {"template": {"spec": {"containers": [container]}}},
            "classes": classes,
            "profiles": [own_profile(number, name) for name in accelerators],
            "scaling": {"minReplicas": 4, "maxReplicas": 64},
            "capacity": {
                "accelerators": [accelerator(name) for name in accelerators],
                "spot": {"enabled": True, "maxShare": 0.5},
                "nodes": {"backend": "Karpenter", "nodeClassRef": NODE_CLASS},
            },
        },
    }


def size_rps(number: int) -> float:
    """Requests per second of a pool's class in the mean."""
    return 0.5 + number % 7


def a_planned_demand(number: int, now: float) -> Demand:
    """What a pool's sidecars measured: a day's wave with a noon by the pool's number, and noise that is new each time."""
    chance = random.Random(f"{number} {now}")
    mean = size_rps(number) * wave(now, number % PHASES)
    rates = {name: mean * chance.uniform(0.9, 1.1) for name in _KINDS[number % len(_KINDS)][0]}
    return Demand(
        measured_at=now,
        window_s=45,
        source="bench",
        replicas_reporting=64,
        classes={n: _measured(rate, chance) for n, rate in rates.items()},
        prompting=_met(45.0 * sum(rates.values()), chance),
    )


def _met(arrivals: float, chance: random.Random) -> PromptMeetings:
    """Of a gateway that spares nearly all prompts, where one is open for a fifth of a replica's time."""
    return PromptMeetings(arrivals=arrivals, met=arrivals * chance.uniform(0.0, 0.02), open_seconds=64 * 9.0, seconds=64 * 45.0)


def _measured(rate: float, chance: random.Random) -> ClassDemand:
    """Requests of every length: as unequal as a geometric distribution, and in the mean a little different each time."""
    inputs, outputs = (tokens * chance.uniform(0.97, 1.03) for tokens in (INPUT_TOKENS, OUTPUT_TOKENS))
    return ClassDemand(
        requests_per_s=rate,
        completed_per_s=rate,
        input_tokens_per_s=rate * inputs,
        output_tokens_per_s=rate * outputs,
        input_tokens_squared_per_s=2 * rate * inputs**2,
        output_tokens_squared_per_s=2 * rate * outputs**2,
        in_flight=rate * 3,
    )


@dataclass(slots=True)
class Place:
    """A pool as it stands between two passes."""

    number: int
    identity: PoolIdentity
    spec: InferencePoolSpec
    memory: Memory
    deployments: tuple[DeploymentView, ...] = ()
    started: dict[str, float] = field(default_factory=dict)

    @classmethod
    def first(cls, number: int, memory: Memory) -> Place:
        """With a replica of each variant that is not preferred, as if the pool were moving between its accelerators."""
        obj = a_planned_pool(number)
        spec = InferencePoolSpec.model_validate(obj["spec"])
        identity = PoolIdentity(namespace=obj["metadata"]["namespace"], name=obj["metadata"]["name"], uid=f"uid-{number}", generation=1)
        variants = [Variant(type_, *choice) for choice in preferred_profile(spec) for type_ in ("on-demand", "spot")]
        return cls(number, identity, spec, memory, tuple(sorted((_view(identity, spec, v) for v in variants), key=lambda d: d.name)))

    def snapshot(self, now: float, demand: Demand) -> Snapshot:
        """What an operator would see. The last replica of each preferred variant is still starting, so those of the others stay."""
        pods = tuple(pod for d in self.deployments for pod in self._pods(d, now))
        return Snapshot(
            now=now,
            pool=self.identity,
            spec=self.spec,
            classes={name: CLASS_SPECS[name] for name in self.spec.classes},
            deployments=self.deployments,
            pods=pods,
            nodes=tuple(_node(self.identity, d) for d in self.deployments),
            node_pools=tuple(NodePoolView(name=_node_pool(self.identity, d)) for d in self.deployments),
            demand=demand,
            memory=self.memory,
            settings=SETTINGS,
        )

    def _pods(self, deployment: DeploymentView, now: float) -> list[PodView]:
        waits = deployment.accelerator == self.used
        return [
            PodView(
                name=f"{deployment.name}-{i}",
                variant=deployment.variant,
                capacity_type=deployment.capacity_type,
                node=f"node-of-{deployment.name}",
                ready=not (starting := waits and i == deployment.replicas - 1),
                created_at=now - STARTING_S if starting else now - DAY_S,
                ready_at=None if starting else now - DAY_S + 2 * STARTING_S + 0.1 * (self.number % 300),
            )
            for i in range(deployment.replicas)
        ]

    @property
    def used(self) -> str:
        """The accelerator of the last decision."""
        return next(iter(self.memory.mix), "").partition("/")[0] or self.spec.capacity.accelerators[0].name

    def carry_out(self, decided: Plan) -> None:
        """Scales as decided."""
        self.memory = decided.memory
        wanted = {a.ref.name: a.body["spec"]["replicas"] for a in decided.actions if a.verb == "scale"}
        if wanted:
            self.deployments = tuple(
                d.model_copy(update={"replicas": wanted.get(d.name, d.replicas), "ready": wanted.get(d.name, d.replicas)})
                for d in self.deployments
            )


def _view(identity: PoolIdentity, spec: InferencePoolSpec, variant: Variant) -> DeploymentView:
    assert variant.accelerator is not None
    return DeploymentView(
        name=deployment_name(identity.name, variant),
        variant=variant.name,
        capacity_type=variant.capacity_type,
        accelerator=variant.accelerator.name,
        replicas=1,
        ready=1,
        template_hash=template_hash(spec, variant),
    )


def _node_pool(identity: PoolIdentity, deployment: DeploymentView) -> str:
    return node_pool_name(identity, deployment.accelerator, deployment.capacity_type)


def _node(identity: PoolIdentity, deployment: DeploymentView) -> NodeView:
    labels: dict[str, Any] = {LABEL_NODE_POOL: _node_pool(identity, deployment)}
    return NodeView(
        name=f"node-of-{deployment.name}",
        own=True,
        capacity_type=deployment.capacity_type,
        labels=labels,
        allocatable={"nvidia.com/gpu": "8"},
    )
