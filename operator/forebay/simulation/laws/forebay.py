"""Our own planner behind the seam: what was sampled becomes a snapshot, `planning.plan` decides, its memory is carried along.

Nothing is added to the planner and nothing is left out of it that bears on a count: replicas are pods with the times at which they were
made and became ready, demand is what the sidecars would have reported over their window. The run's setup has to sample by class.
"""

from __future__ import annotations

from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.memory import Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import DeploymentView, PodView, PoolIdentity, Settings, Snapshot
from forebay.planning.work import EngineProfile
from forebay.simulation.demand import demand_of
from forebay.simulation.law import Observation

EPOCH_S = 1_800_000_000.0
EARLIER_S = 86_400.0
CLASS = "default"
_ACCELERATOR = "gpu"


class Forebay:
    """One pool of one class on one accelerator. Demand is measured over the last `window_s`, as the sidecars' metrics are by default.

    `started_in_s` is how long the replicas took that are there at the beginning, so that the planner knows it as it would after a day.
    """

    def __init__(
        self, spec: InferencePoolSpec, batch_class: BatchClassSpec, started_in_s: float, *, window_s: float = 45.0, interval_s: float = 15.0
    ) -> None:
        self.interval_s = interval_s
        self._spec, self._class, self._window_s, self._started_in_s = spec, batch_class, window_s, started_in_s
        self._memory = Memory()
        self._settings = Settings(sidecar_image="sidecar", interval_s=interval_s)
        self._pods: list[tuple[int, float, float | None]] = []
        self._made = 0
        self.why: tuple[str, ...] = ()
        """What led to the last decision."""

    def decide(self, seen: Observation) -> int:
        """Raises ValueError where the run does not sample by class: no demand would be seen in any load."""
        if any(s.arrived and not s.classes for s in seen.last(self._window_s)):
            raise ValueError("this law needs a setup that samples by class: Setup(by_class=True)")
        self._follow(seen)
        decision = plan(self._snapshot(seen))
        self._memory, self.why = decision.memory, decision.why
        return decision.replicas

    def _follow(self, seen: Observation) -> None:
        """The pods that there must be, from counts: those that wait longest become ready first, the newest are given up first."""
        pods = self._pods
        if not self._made:
            pods += [(number, -EARLIER_S, -EARLIER_S + self._started_in_s) for number in range(seen.ready)]
            self._made = seen.ready
        for _ in range(seen.replicas - len(pods)):
            pods.append((self._made, seen.now - self.interval_s, None))
            self._made += 1
        del pods[seen.replicas :]
        for index, (number, made_at, ready_at) in enumerate(pods[: seen.ready]):
            if ready_at is None:
                pods[index] = (number, made_at, self._ready_at(seen))

    def _ready_at(self, seen: Observation) -> float:
        """When the newest ready replica was first counted."""
        for sample in reversed(seen.last(self.interval_s)):
            if sample.ready < seen.ready:
                return sample.at
        return seen.now

    def _snapshot(self, seen: Observation) -> Snapshot:
        pods = tuple(_pod(*pod) for pod in self._pods)
        variant = f"{_ACCELERATOR}-on-demand"
        deployment = DeploymentView(
            name=f"pool-{variant}", variant=variant, accelerator=_ACCELERATOR, replicas=seen.replicas, ready=seen.ready
        )
        return Snapshot(
            now=EPOCH_S + seen.now,
            pool=PoolIdentity(namespace="simulation", name="pool", uid="pool", generation=1),
            spec=self._spec,
            classes={CLASS: self._class},
            deployments=(deployment,),
            pods=pods,
            demand=demand_of(seen, EPOCH_S + seen.now, self._window_s),
            memory=self._memory,
            settings=self._settings,
        )


def _pod(number: int, made_at: float, ready_at: float | None) -> PodView:
    return PodView(
        name=f"pool-{number}",
        variant=f"{_ACCELERATOR}-on-demand",
        ready=ready_at is not None,
        created_at=EPOCH_S + made_at,
        ready_at=None if ready_at is None else EPOCH_S + ready_at,
    )


def pool_of(engine: EngineProfile, *, min_replicas: int, max_replicas: int, **scaling: Any) -> InferencePoolSpec:
    """The spec of a pool of one class on replicas of this profile."""
    iteration = {"base": f"{engine.base_s * 1e3:.9f}ms", "perToken": f"{engine.per_token_s * 1e6:.9f}us"}
    iteration["perKvToken"] = f"{engine.per_kv_token_s * 1e9:.9f}ns"
    return InferencePoolSpec.model_validate(
        {
            "model": {"name": "model"},
            "server": {"template": {"spec": {"containers": [{"name": "server", "image": "engine"}]}}},
            "classes": [CLASS],
            "profiles": [{"accelerator": _ACCELERATOR, "maxConcurrency": engine.max_concurrency, "iteration": iteration}],
            "scaling": {"minReplicas": min_replicas, "maxReplicas": max_replicas, **scaling},
            "capacity": {"accelerators": [{"name": _ACCELERATOR, "gpusPerNode": 8}]},
        }
    )
