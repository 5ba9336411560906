"""The kinds of replica a pool can have: an accelerator, a partition of it, and a capacity type. One Deployment each."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.canonical import bounded_name
from forebay.api.inference_pool import FULL, Accelerator, Backend, InferencePoolSpec, Profile
from forebay.planning.queueing import EngineProfile
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType

LABEL_POOL = "forebay.dev/pool"
LABEL_VARIANT = "forebay.dev/variant"
LABEL_ROUTED = "forebay.dev/routed"
LABEL_CAPACITY_TYPE = "karpenter.sh/capacity-type"
LABEL_OWNER_UID = "forebay.dev/owner-uid"
LABEL_OWNER_NAMESPACE = "forebay.dev/owner-namespace"
LABEL_PART_OF = "app.kubernetes.io/part-of"
PART_OF = "forebay"


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of replica. Without profile or accelerator it is a pool of existing nodes that nothing is known about."""

    capacity_type: CapacityType
    accelerator: Accelerator | None = None
    profile: Profile | None = None

    @property
    def partition(self) -> str:
        return self.profile.partition if self.profile else FULL

    @property
    def name(self) -> str:
        """Key within the pool; also a label value."""
        partition = "" if self.partition == FULL else self.partition.replace("+", ".")
        return bounded_name(self.accelerator.name if self.accelerator else "", partition, self.capacity_type, limit=40)

    @property
    def gpus(self) -> int:
        """GPUs, or partitions, of one replica."""
        return self.profile.gpus if self.profile else 0

    @property
    def usd_per_node_hour(self) -> float | None:
        if self.accelerator is None:
            return None
        prices = self.accelerator.usd_per_hour
        return prices.spot if self.capacity_type == SPOT else prices.on_demand


def preferred_profile(spec: InferencePoolSpec) -> list[tuple[Accelerator, Profile]]:
    """Profiles in the order in which the accelerators are listed, then as declared."""
    return [(acc, profile) for acc in spec.capacity.accelerators for profile in spec.profiles if profile.accelerator == acc.name]


def capacity_types(spec: InferencePoolSpec) -> tuple[CapacityType, ...]:
    return (ON_DEMAND, SPOT) if spec.capacity.spot.enabled else (ON_DEMAND,)


def selects_capacity_type(spec: InferencePoolSpec) -> bool:
    """Whether pods must name their capacity type: not where all nodes are alike and exist already."""
    return spec.capacity.spot.enabled or spec.capacity.nodes.backend == Backend.KARPENTER


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
