"""Writes: carries out a plan's actions in order. A write that fails is an outcome to report, not an exception to lose."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from forebay.adapters.cluster import (
    DEPLOYMENTS,
    FIELD_MANAGER,
    NODE_POOLS,
    Cluster,
    ClusterError,
    Conflict,
    Kind,
    NotFound,
    Object,
    Unavailable,
    kind_of,
)
from forebay.api.canonical import short_hash
from forebay.planning.decision import Action, Ref
from forebay.reconcile.view import View
from forebay.reconcile.world import Applied

_log = logging.getLogger(__name__)
APPLY_AGAIN_S = 60.0
MAX_SENTENCE = 1000
_MANAGERS = re.compile(r'conflict with "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan's actions: those that were done, one sentence for each field conflict, and what ended the round early."""

    done: tuple[Action, ...] = ()
    conflicts: tuple[str, ...] = ()
    error: ClusterError | None = None
    refusal: str = ""

    def raise_error(self) -> None:
        """Brings what ended the round before the queue, which tries again."""
        if self.error is not None:
            raise self.error


def kind_for(ref: Ref) -> Kind:
    return kind_of({"apiVersion": ref.api_version, "kind": ref.kind})


def due(actions: tuple[Action, ...], applied: Applied, view: View, now: float) -> tuple[Action, ...]:
    """The actions without those whose object was applied just so a short while ago: an API server need not hear it every round."""
    return tuple(a for a in actions if a.verb != "apply" or not _known(a, applied, view, now))


def _known(action: Action, applied: Applied, view: View, now: float) -> bool:
    kind = kind_for(action.ref)
    if kind in (DEPLOYMENTS, NODE_POOLS) and view.get(kind, action.ref.namespace, action.ref.name) is None:
        return False  # these are watched, so it is known to be gone
    intent, at = applied.get(_place(action.ref), ("", 0.0))
    return intent == short_hash(action.body) and now - at < APPLY_AGAIN_S


def _place(ref: Ref) -> str:
    return f"{ref.kind}/{ref.namespace or ''}/{ref.name}"


def remember(outcome: Outcome, applied: Applied, now: float) -> None:
    """Notes what was applied and deleted. What met a conflict is applied again at the next chance."""
    for action in outcome.done:
        if action.verb == "apply":
            applied[_place(action.ref)] = (short_hash(action.body), now)
        elif action.verb == "delete":
            applied.pop(_place(action.ref), None)


async def apply(actions: tuple[Action, ...], cluster: Cluster) -> Outcome:
    """Does one action after the other. A field of another manager is left to it and the rest goes on; any other failure ends the round."""
    done: list[Action] = []
    conflicts: list[str] = []
    for action in actions:
        try:
            await _one(action, cluster)
            done.append(action)
        except ClusterError as error:
            what = f"{action.ref.kind} {action.ref.name}"
            if isinstance(error, NotFound) and action.verb != "apply":
                _log.info("%s %s: it is gone already", action.verb, what)
            elif isinstance(error, Conflict) and _MANAGERS.search(str(error)):
                conflicts.append(f"{what}: {error}"[:MAX_SENTENCE])
                _log.warning("%s %s: %s", action.verb, what, error)
            else:
                refusal = "" if isinstance(error, Unavailable | Conflict) else f"{what}: {error}"[:MAX_SENTENCE]
                return Outcome(tuple(done), tuple(conflicts), error, refusal)
    return Outcome(tuple(done), tuple(conflicts))


async def _one(action: Action, cluster: Cluster) -> None:
    ref, kind = action.ref, kind_for(action.ref)
    match action.verb:
        case "apply":
            await apply_object(cluster, action.body)
        case "scale":
            await cluster.patch(kind, ref.namespace, ref.name, action.body, subresource="scale", manager=FIELD_MANAGER)
        case "patch":
            await cluster.patch(kind, ref.namespace, ref.name, action.body, manager=FIELD_MANAGER)
        case "delete":
            await cluster.delete(kind, ref.namespace, ref.name)
        case "evict":
            await cluster.evict(ref.namespace or "", ref.name)


async def apply_object(cluster: Cluster, obj: Object) -> Object:
    """Server-side apply. A field that another manager owns is left to it, and the conflict raised; our own earlier writes are overruled.

    A replica count written through `scale` counts as another manager of the same name: that one is us.
    """
    try:
        return await cluster.apply(obj, manager=FIELD_MANAGER)
    except Conflict as error:
        if set(_MANAGERS.findall(str(error))) != {FIELD_MANAGER}:
            raise
        return await cluster.apply(obj, manager=FIELD_MANAGER, force=True)
