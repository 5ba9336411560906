"""What is refused, cannot be read, belongs to somebody else or is away is said where it can be seen, and stops nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reconcile.worlds import Lab, Operator, a_class, a_policy, a_pool, in_lab, on_karpenter

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Forbidden, Invalid, Kind, Object
from forebay.reconcile.keys import SWEEP, Key
from forebay.reconcile.report import RECORD_EVERY_S

CHAT, SUPPORT = (
    a_pool(capacity=on_karpenter(spot={"enabled": True, "maxShare": 0.5}), scaling={"minReplicas": 2, "maxReplicas": 9}),
    a_policy(),
)


class Watched:
    """A cluster that counts writes to it, and refuses some."""

    def __init__(self, lab: Lab, **refused: Exception) -> None:
        self._cluster, self._refused = lab.cluster, refused
        self.writes: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def apply(self, obj: Object, **options: Any) -> Object:
        self.writes.append((obj["kind"], obj["metadata"]["name"]))
        if obj["kind"] in self._refused and not options.get("subresource"):
            raise self._refused[obj["kind"]]
        return await self._cluster.apply(obj, **options)

    async def patch(self, kind: Kind, *where: Any, **options: Any) -> Object:
        self.writes.append((kind.name, str(where[1])))
        return await self._cluster.patch(kind, *where, **options)


async def at_work(lab: Lab, operator: Operator) -> None:
    """A pool and its gateway, ready and asked for a little."""
    await lab.apply(a_class(), CHAT, SUPPORT)
    lab.demand(rps=1)
    await operator.quiet()
    await lab.run_pods()
    await operator.quiet()


def test_nothing_is_written_while_nothing_changes() -> None:
    """Our own status writes come back as changes: they must not be worked on for ever."""

    async def test(lab: Lab) -> None:
        watched: Any = Watched(lab)
        async with lab.operator(watched) as operator:
            await at_work(lab, operator)
            await lab.clock.advance(15)
            lab.demand(rps=1)
            await operator.again()
            watched.writes.clear()
            lab.demand(rps=1.2)
            for _ in range(20):
                await operator.again(
                    SWEEP, Key("gateway", "default", "default"), Key("class", "", "interactive"), Key("pool", "default", "chat")
                )
            assert watched.writes == []
            await lab.clock.advance(15)
            lab.demand(rps=1.2)
            await operator.again()
            assert watched.writes == [("InferencePool", "chat")], "figures are shown at the pace of the plan"

    in_lab(test)


@pytest.mark.parametrize(
    "error", [Invalid("imagePullPolicy: Unsupported value", 422), Forbidden("no right to do so", 403)], ids=["Invalid", "Forbidden"]
)
def test_a_write_that_is_refused_is_said_on_the_object(error: Exception) -> None:
    async def test(lab: Lab) -> None:
        watched: Any = Watched(lab, Deployment=error)
        async with lab.operator(watched) as operator:
            await lab.apply(a_class(), CHAT, SUPPORT)
            await operator.quiet()
            for type_ in ("Accepted", "Ready"):
                found = await lab.condition(type_)
                assert (found["status"], found["reason"]) == ("False", "ApplyFailed") and str(error) in found["message"]
            found = await lab.condition("Programmed", "support", kinds.ROUTING_POLICIES)
            assert found["reason"] == "ApplyFailed" and found["message"].startswith("Deployment forebay-gateway-default: ")
            assert "ApplyFailed" in {e["reason"] for e in await lab.cluster.list(kinds.EVENTS)}
            watched._refused.clear()
            await operator.again(Key("pool", "default", "chat"), Key("gateway", "default", "default"))
            assert (await lab.condition("Accepted"))["status"] == "True"
            assert len(await lab.replicas()) == 3

    in_lab(test)


def test_a_field_of_another_manager_is_named_and_the_rest_goes_on() -> None:
    async def test(lab: Lab) -> None:
        theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat-forebay", "namespace": "default"},
                  "spec": {"selector": {"app": "theirs"}, "ports": [{"name": "http", "port": 80}]}}  # fmt: skip
        await lab.cluster.apply(theirs, manager="somebody")
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            found = await lab.condition("FieldConflict")
            assert (
                found["status"] == "True" and 'conflict with "somebody"' in found["message"] and "Service chat-forebay" in found["message"]
            )
            assert await lab.replicas() == {"chat-h100-on-demand": 1}
            await lab.cluster.delete(kinds.SERVICES, "default", "chat-forebay")
            await operator.again()
            assert (await lab.condition("FieldConflict"))["status"] == "False"

    in_lab(test)


def test_an_object_that_cannot_be_read_says_so_and_stops_no_other() -> None:
    """As other CRDs than this version's may let it in."""

    async def test(lab: Lab) -> None:
        class Loose(Watched):
            """Shows objects with a field that this version does not know so."""

            async def _spoilt(self, kind: Kind, **options: Any) -> Any:
                async for event in lab.cluster.watch(kind, **options):
                    if event.object.get("metadata", {}).get("name") in ("bad", "bad-class", "bad-policy"):
                        event.object["spec"][
                            "tier" if kind == kinds.BATCH_CLASSES else "model" if kind == kinds.INFERENCE_POOLS else "models"
                        ] = 7
                    yield event

            def watch(self, kind: Kind, **options: Any) -> Any:
                return self._spoilt(kind, **options)

        loose: Any = Loose(lab)
        async with lab.operator(loose) as operator:
            await lab.apply(a_class(), a_class("bad-class"), a_pool(), a_pool("bad"), a_policy(), a_policy("bad-policy"))
            await operator.quiet()
            for name, kind in (("bad", kinds.INFERENCE_POOLS), ("bad-class", kinds.BATCH_CLASSES), ("bad-policy", kinds.ROUTING_POLICIES)):
                found = await lab.condition("Accepted", name, kind)
                assert found["reason"] == "InvalidSpec" and found["message"].startswith("spec."), name
            assert "chat-h100-on-demand" in await lab.replicas() and "forebay-gateway-default" in await lab.replicas()

    in_lab(test)


def test_an_api_that_is_away_for_a_moment_closes_no_route() -> None:
    """Labels of the namespace open a pool of another one; that they cannot be read now does not mean that they are gone."""

    async def test(lab: Lab) -> None:
        from forebay.adapters.cluster import Unavailable

        class Flaky(Watched):
            away = False

            async def get(self, kind: Kind, *where: Any) -> Any:
                if self.away and kind == kinds.NAMESPACES:
                    raise Unavailable("no answer")
                return await lab.cluster.get(kind, *where)

        await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"team": "search"}}})
        flaky: Any = Flaky(lab)
        async with lab.operator(flaky) as operator:
            allowed = {"namespaces": {"from": "Selector", "matchLabels": {"team": "search"}}}
            theirs = a_policy(rules=[{"name": "all", "route": [{"pool": "chat", "namespace": "models"}]}])
            await lab.apply(a_class(), a_pool(namespace="models", allowedPolicies=allowed), theirs)
            await operator.quiet()
            before = (await lab.get(kinds.CONFIG_MAPS, "forebay-gateway-default"))["data"]
            assert "models/chat" in before["gateway.json"]
            flaky.away = True
            await operator.again(Key("gateway", "default", "default"))
            assert (await lab.get(kinds.CONFIG_MAPS, "forebay-gateway-default"))["data"] == before

    in_lab(test)


def test_after_a_clock_was_set_back_everything_is_written_and_said_as_often_as_before() -> None:
    """Objects are applied again, memory is saved, figures are shown and a decision is recorded: none of it waits for the old time."""

    async def test(lab: Lab) -> None:
        watched: Any = Watched(lab)
        async with lab.operator(watched) as operator:
            await at_work(lab, operator)
            lab.clock.set_back(3600)
            lab.demand(rps=1)
            await operator.again()
            before, saved = await lab.status(), await lab.get(kinds.CONFIG_MAPS, "chat-forebay-memory")
            recorded = len(operator.decisions.records)
            watched.writes.clear()
            await lab.clock.advance(RECORD_EVERY_S + 1)
            lab.demand(rps=1.01)
            await operator.again(Key("pool", "default", "chat"), Key("gateway", "default", "default"))
            applied = {kind for kind, _ in watched.writes}
            assert {"Deployment", "NodePool", "InferencePool"} <= applied, "an hour is not waited for"
            assert (await lab.get(kinds.CONFIG_MAPS, "chat-forebay-memory"))["data"] != saved["data"]
            assert (await lab.status())["demand"] != before["demand"] and len(operator.decisions.records) > recorded

    in_lab(test)
