"""What a decision is: actions in order, a status, what to remember, and why."""

from __future__ import annotations

from typing import Any, Literal

from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import InferencePoolStatus
from forebay.api.meta import K8sModel
from forebay.planning.memory import Memory
from forebay.planning.shares import Ask


class Ref(K8sModel):
    """An object by name."""

    api_version: str
    kind: str
    namespace: str | None = None
    name: str


class Action(K8sModel):
    """One write. Each is idempotent: doing it twice is doing it once."""

    verb: Literal["apply", "scale", "patch", "delete", "evict"]
    ref: Ref
    body: dict[str, Any] = {}
    reason: str = ""


class Verdict(K8sModel):
    """A condition before it has a time: the report gives it one when its status changed."""

    type: Type
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str


class Note(K8sModel):
    """An Event for people."""

    type: Literal["Normal", "Warning"] = "Normal"
    reason: str
    message: str


class Plan(K8sModel):
    """The output of one decision. `ask` is what the pool would do with any part of the limits that it shares, where it shares some."""

    schema_version: Literal[1] = 1
    actions: tuple[Action, ...] = ()
    status: InferencePoolStatus
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[Note, ...] = ()
    memory: Memory
    requeue_after_s: float
    why: tuple[str, ...] = ()
    replicas: int
    dry: bool = False
    ask: Ask | None = None


def ref_of(obj: dict[str, Any]) -> Ref:
    meta = obj["metadata"]
    return Ref(api_version=obj["apiVersion"], kind=obj["kind"], namespace=meta.get("namespace"), name=meta["name"])


def apply(obj: dict[str, Any], reason: str = "") -> Action:
    return Action(verb="apply", ref=ref_of(obj), body=obj, reason=reason)
