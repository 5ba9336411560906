"""The kinds of replica a pool can have: an accelerator, a partition of it, and a capacity type. One Deployment each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from forebay.api.canonical import bounded_name, short_hash
from forebay.api.inference_pool import FULL, Accelerator, InferencePoolSpec, Profile
from forebay.planning.queueing import EngineProfile
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, DeploymentView, PoolIdentity

LABEL_POOL = "forebay.dev/pool"
LABEL_VARIANT = "forebay.dev/variant"
LABEL_ROUTED = "forebay.dev/routed"
LABEL_CAPACITY_TYPE = "karpenter.sh/capacity-type"
LABEL_NODE_POOL = "karpenter.sh/nodepool"
LABEL_OWNER_UID = "forebay.dev/owner-uid"
LABEL_OWNER_NAMESPACE = "forebay.dev/owner-namespace"
LABEL_PART_OF = "app.kubernetes.io/part-of"
PART_OF = "forebay"


MOST_PROFILES = 8192
"""Profiles whose keys are remembered, in all pools: writing one as JSON takes fifty times as long as finding it again."""

Choice = tuple[Accelerator, Profile]
"""A kind of replica, on whatever capacity type."""


def choice_name(choice: Choice) -> str:
    return f"{choice[0].name}/{choice[1].partition}"


def profile_key(choice: Choice) -> str:
    """A profile by what it says: one that is corrected begins anew."""
    return _profile_key(choice[0].name, choice[1])


@lru_cache(MOST_PROFILES)
def _profile_key(accelerator: str, profile: Profile) -> str:
    return short_hash([accelerator, profile.model_dump(mode="json")])


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of replica. Without profile or accelerator it is a pool of existing nodes that nothing is known about."""

    capacity_type: CapacityType
    accelerator: Accelerator | None = None
    profile: Profile | None = None
    partition: str = field(init=False, compare=False, repr=False)
    name: str = field(init=False, compare=False, repr=False)
    """Key within the pool; also a label value."""
    gpus: int = field(init=False, compare=False, repr=False)
    """GPUs, or partitions, of one replica."""

    def __post_init__(self) -> None:
        # Looked at hundreds of times in one decision, so these are no properties.
        partition = self.profile.partition if self.profile else FULL
        name = _variant_name(self.accelerator.name if self.accelerator else "", partition, self.capacity_type)
        object.__setattr__(self, "partition", partition)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "gpus", self.profile.gpus if self.profile else 0)

    def node_pool_name(self, pool: PoolIdentity) -> str:
        """The NodePool of its nodes."""
        return node_pool_name(pool, self.accelerator.name if self.accelerator else "", self.capacity_type)

    @property
    def usd_per_node_hour(self) -> float | None:
        if self.accelerator is None:
            return None
        prices = self.accelerator.usd_per_hour
        return prices.spot if self.capacity_type == SPOT else prices.on_demand


@lru_cache(1024)
def _variant_name(accelerator: str, partition: str, capacity_type: CapacityType) -> str:
    return bounded_name(accelerator, "" if partition == FULL else partition.replace("+", "."), capacity_type, limit=40)


def preferred_profile(spec: InferencePoolSpec) -> list[Choice]:
    """Profiles in the order in which the accelerators are listed, then as declared."""
    return [(acc, profile) for acc in spec.capacity.accelerators for profile in spec.profiles if profile.accelerator == acc.name]


def wanted_variants(spec: InferencePoolSpec, choice: Choice | None) -> tuple[Variant, ...]:
    """The variants that a pool should have on this profile, one per capacity type; without a profile on its first accelerator."""
    accelerator, profile = choice or (next(iter(spec.capacity.accelerators), None), None)
    types = (ON_DEMAND, SPOT) if spec.capacity.spot.enabled else (ON_DEMAND,)
    return tuple(Variant(capacity_type, accelerator, profile) for capacity_type in types)


def existing_variant(spec: InferencePoolSpec, deployment: DeploymentView, like: Variant) -> Variant:
    """The variant of a Deployment that is no longer wanted; where its accelerator is no longer listed, `like` stands in for it."""
    accelerator = next((a for a in spec.capacity.accelerators if a.name == deployment.accelerator), None)
    if accelerator is None:
        return Variant(deployment.capacity_type, like.accelerator, like.profile)
    same = [p for p in spec.profiles if p.accelerator == accelerator.name and p.partition == deployment.partition]
    return Variant(deployment.capacity_type, accelerator, same[0] if same else None)


def engine_profile(spec: InferencePoolSpec, profile: Profile) -> EngineProfile:
    step = profile.iteration
    return EngineProfile(
        base_s=step.base,
        per_token_s=step.per_token,
        per_kv_token_s=step.per_kv_token,
        max_concurrency=profile.max_concurrency,
        task=spec.model.task,
    )


def qualified(namespace: str, name: str) -> str:
    """`namespace.name`: how nodes are marked as a pool's own."""
    return bounded_name(f"{namespace}.{name}")


def node_pool_name(pool: PoolIdentity, accelerator: str, capacity_type: CapacityType) -> str:
    """Dots part what may hold hyphens, so that no two pools of a cluster share a name."""
    return bounded_name(f"forebay.{pool.namespace}.{pool.name}.{accelerator}.{capacity_type}")
