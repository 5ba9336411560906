"""What is said about a decision: conditions with their times, status at its pace, records, and the memory that is kept."""

from __future__ import annotations

import json
from typing import Any

from tests.reconcile.worlds import Lab, a_class, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.api.conditions import Reason, Type
from forebay.cli.replay import replay
from forebay.planning.decision import Verdict
from forebay.reconcile.apply import Outcome
from forebay.reconcile.report import RECORD_EVERY_S, conditions, verdicts_after

T0, T1 = 1_700_000_000.0, 1_700_000_900.0


def a_verdict(status: Any = "True", reason: Reason = Reason.REPLICAS_READY, type_: Type = Type.READY) -> Verdict:
    return Verdict(type=type_, status=status, reason=reason, message="m")


def test_a_transition_has_the_time_of_its_status() -> None:
    first = conditions((a_verdict("False", Reason.NO_REPLICAS),), {}, 1, T0)
    assert first[0]["lastTransitionTime"] == "2023-11-14T22:13:20Z" and first[0]["observedGeneration"] == 1
    before = {"status": {"conditions": first}}
    same = conditions((a_verdict("False", Reason.REPLICAS_PENDING),), before, 2, T1)
    assert same[0]["lastTransitionTime"] == "2023-11-14T22:13:20Z" and same[0]["reason"] == "ReplicasPending"
    turned = conditions((a_verdict("True"),), before, 2, T1)
    assert turned[0]["lastTransitionTime"] == "2023-11-14T22:28:20Z"


def test_conditions_that_are_no_longer_said_are_gone() -> None:
    before = {"status": {"conditions": conditions((a_verdict(type_=Type.PARTITIONED),), {}, 1, T0)}}
    assert [c["type"] for c in conditions((a_verdict(),), before, 1, T1)] == ["Ready"]


def test_a_refused_write_fails_what_rests_on_it() -> None:
    verdicts = (a_verdict(type_=Type.ACCEPTED), a_verdict(), a_verdict(type_=Type.METRICS_FRESH))
    told = verdicts_after(verdicts, Outcome(refusal="Deployment d: no"), (Type.ACCEPTED, Type.READY))
    assert [(v.type.value, v.status, v.message) for v in told[:3]] == [
        ("Accepted", "False", "Deployment d: no"),
        ("Ready", "False", "Deployment d: no"),
        ("MetricsFresh", "True", "m"),
    ]
    assert (told[3].type, told[3].status) == (Type.FIELD_CONFLICT, "False")
    assert verdicts_after(verdicts, Outcome(), (Type.READY,))[:3] == verdicts


def test_status_is_written_when_it_says_something_new() -> None:
    async def test(lab: Lab) -> None:
        async def version() -> str:
            return str((await lab.get(kinds.INFERENCE_POOLS, "chat"))["metadata"]["resourceVersion"])

        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            lab.demand(rps=1)
            await operator.quiet()
            await operator.again()
            first = await version()
            for rps in (1.1, 1.2, 1.3):
                lab.demand(rps=rps)
                await operator.again()
            assert await version() == first, "figures alone, within one interval"
            await lab.run_pods()
            await operator.quiet()
            second = await version()
            assert second != first and (await lab.status())["readyReplicas"] == 1
            await lab.clock.advance(15)
            lab.demand(rps=1.4)
            await operator.again()
            assert (await lab.status())["demand"]["requestsPerSecond"] == 1.4
            third = await version()
            await lab.clock.advance(15)
            lab.demand(rps=1.4)
            await operator.again()
            assert await version() == third, "the same again"

    in_lab(test)


def test_demand_that_is_not_known_any_more_goes_from_the_status() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await lab.run_pods()
            lab.demand(rps=1.4)
            await operator.again()
            assert (await lab.status())["demand"]["requestsPerSecond"] == 1.4
            await lab.clock.advance(60)
            await operator.again()
            assert "requestsPerSecond" not in (await lab.status()).get("demand", {})
            assert (await lab.condition("MetricsFresh"))["reason"] == "Stale"

    in_lab(test)


def test_a_status_that_somebody_else_broke_is_mended() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            await lab.cluster.patch(kinds.INFERENCE_POOLS, "default", "chat", {"status": {"conditions": []}}, subresource="status")
            await lab.clock.advance(15)
            await operator.again()
            assert (await lab.condition("Accepted"))["status"] == "True"

    in_lab(test)


def test_recorded_decisions_can_be_planned_again() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            for rps in (0.0, 7.31, 30.0, 3.3):
                lab.demand(rps=rps)
                await operator.again()
                await lab.run_pods()
                await operator.quiet()
                await lab.clock.advance(15)
            records = [json.loads(json.dumps(r)) for r in operator.decisions.records]
        assert len(records) >= 3 and len({r["id"] for r in records}) >= 2
        assert all(replay(record) == [] for record in records)
        assert records[-1]["pool"] == "default/chat"

    in_lab(test)


def test_a_decision_that_stands_is_recorded_now_and_then() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            await lab.run_pods()
            await operator.again()
            before = len(operator.decisions.records)
            for _ in range(10):
                await lab.clock.advance(15)
                await operator.again()
            assert len(operator.decisions.records) == before
            await lab.clock.advance(RECORD_EVERY_S)
            await operator.again()
            assert len(operator.decisions.records) == before + 1
            ids = [r["id"] for r in operator.decisions.records]
            assert ids[-1] == ids[-2] == (await lab.status())["plan"]["id"]

    in_lab(test)


def test_decided_at_is_when_the_decision_was_made() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            lab.demand(rps=1)
            await operator.quiet()
            await lab.run_pods()
            await operator.again()
            decided = (await lab.status())["plan"]["decidedAt"]
            await lab.clock.advance(15)
            lab.demand(rps=1)
            await operator.again()
            assert (await lab.status())["plan"]["decidedAt"] == decided
            lab.demand(rps=30)
            await operator.again()
            assert (await lab.status())["plan"]["decidedAt"] != decided

    in_lab(test)


def test_memory_is_saved_at_once_where_a_decision_rests_on_it_else_now_and_then() -> None:
    async def test(lab: Lab) -> None:
        async def saved() -> dict[str, Any]:
            return dict(json.loads((await lab.get(kinds.CONFIG_MAPS, "chat-forebay-memory"))["data"]["memory.json"]))

        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            lab.demand(rps=1)
            await operator.quiet()
            assert (await saved())["target"] == 1
            lab.demand(rps=30)
            await operator.again()
            first = await saved()
            assert first["target"] > 1
            await lab.clock.advance(15)
            lab.demand(rps=30.5)
            await operator.again()
            assert (await saved())["history"] == first["history"], "a new point alone is no reason"
            await lab.clock.advance(60)
            lab.demand(rps=30.5)
            await operator.again()
            assert (await saved())["history"] != first["history"]
            owner = (await lab.get(kinds.CONFIG_MAPS, "chat-forebay-memory"))["metadata"]["ownerReferences"][0]
            assert (owner["kind"], owner["name"]) == ("InferencePool", "chat")

    in_lab(test)
