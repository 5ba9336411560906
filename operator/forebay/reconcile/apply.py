"""Writes: carries out a plan's actions in order. A write that fails is an outcome to report, not an exception to lose."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from forebay.adapters.cluster import FIELD_MANAGER, Cluster, Conflict, Kind, NotFound, Object, kind_of
from forebay.planning.decision import Action, Ref

_log = logging.getLogger(__name__)
_MANAGERS = re.compile(r'conflict with "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan's actions."""

    done: int
    conflicts: tuple[str, ...] = ()


def kind_for(ref: Ref) -> Kind:
    return kind_of({"apiVersion": ref.api_version, "kind": ref.kind})


async def apply(actions: tuple[Action, ...], cluster: Cluster) -> Outcome:
    """Does one action after the other. A conflict with another manager is noted and the rest goes on; any other failure ends the round.

    Raises:
        ClusterError: a write failed for another reason; the queue brings the key back.
    """
    done, conflicts = 0, []
    for action in actions:
        try:
            await _one(action, cluster)
            done += 1
        except Conflict as error:
            conflicts.append(f"{action.ref.kind} {action.ref.name}: {error}"[:1000])
            _log.warning("%s %s %s: %s", action.verb, action.ref.kind, action.ref.name, error)
        except NotFound:
            if action.verb == "apply":
                raise
            _log.info("%s %s %s: it is gone already", action.verb, action.ref.kind, action.ref.name)
    return Outcome(done, tuple(conflicts))


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
