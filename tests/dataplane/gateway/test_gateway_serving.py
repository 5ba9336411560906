"""A request's whole way: who may ask, which class and pool it gets, what a replica sees and what comes back."""

from __future__ import annotations

from pathlib import Path

import orjson
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_fakes import Sidecar, answers
from tests.dataplane.gateway.gateway_world import KEY, World, counted, run, until


def test_a_chat_goes_through_with_the_models_own_name_and_says_how(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            got = await world.chat(headers={"x_request_id": "abc-1"}, temperature=0.25)
            assert got.status == 200
            assert got.json["choices"][0]["message"]["content"] == "hi"
            assert got.header("x-request-id") == "abc-1"
            assert got.header("x-forebay-policy") == "support/default"
            assert got.header("x-model-served") == "engine-model"
            assert got.header("cache-status") == "forebay; fwd=bypass"
            assert got.header("x-decision") == "class-default,cache-bypass"
            (seen,) = world.sidecar.seen
            assert orjson.loads(seen.body) == {
                "model": "engine-model",
                "messages": [{"role": "user", "content": "hello"}],
                "temperature": 0.25,
            }
            (record,) = await world.decisions(1)
            assert record["tenant"] == "acme"
            assert record["class"] == "interactive"
            assert record["pool"] == "default/chat"
            assert record["endpoint"] == f"127.0.0.1:{world.sidecar.port}"
            assert (record["queueMs"], record["inputTokens"], record["outputTokens"]) == (12.5, 7, 3)
            assert (record["status"], record["accepted"], record["lost"], record["attempts"]) == (200, True, False, 1)

    run(test)


def test_a_replica_sees_nothing_of_the_client_but_the_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            await world.chat(
                headers={
                    "x_forebay_tenant": "globex",
                    "x_forebay_class": "nightly",
                    "cookie": "a=b",
                    "connection": "keep-alive, x-secret",
                    "x_secret": "1",
                    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
                    "tracestate": "vendor=1",
                }
            )
            headers = dict(world.sidecar.seen[0].headers)
            assert set(headers) == {
                b"host", b"content-length", b"content-type", b"accept", b"x-request-id",
                b"traceparent", b"tracestate", b"x-forebay-class", b"x-forebay-tenant",
            }  # fmt: skip
            assert (headers[b"x-forebay-tenant"], headers[b"x-forebay-class"]) == (b"acme", b"interactive")
            version, trace, parent, flags = headers[b"traceparent"].split(b"-")
            assert (version, trace, flags) == (b"00", b"a" * 32, b"01")
            assert parent != b"b" * 16

    run(test)


def test_no_keys_means_closed_not_open(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(a_policy(tenants=[{"name": "acme", "keys": "support/nobody"}]))
        async with World(tmp_path, document) as world:
            for key in (KEY, "", "wrong", None):
                got = await world.chat(key=key)
                assert (got.status, got.error["code"]) == (401, "invalid_api_key")
                assert got.header("www-authenticate") == "Bearer"
            assert world.seen() == 0

    run(test)


def test_a_tenant_cannot_tell_what_others_have(tmp_path: Path) -> None:
    async def test() -> None:
        other = a_policy("sales", models=["sales-chat"], tenants=[{"name": "globex", "keys": "sales/globex"}])
        async with World(tmp_path, a_document(a_policy(), other)) as world:
            world.write_key("sales/globex", "globex-key")
            await until(lambda: world.role.keys.folders_of(b"globex-key"))
            hidden = await world.chat(model="sales-chat")
            absent = await world.chat(model="no-such-model")
            assert hidden.status == absent.status == 404
            assert hidden.error["code"] == absent.error["code"] == "model_not_found"
            assert hidden.error["message"].replace("sales-chat", "no-such-model") == absent.error["message"]
            for key, models in ((KEY, ["support-chat"]), ("globex-key", ["sales-chat"])):
                listed = await world.call("/v1/models", method="GET", key=key)
                assert [model["id"] for model in listed.json["data"]] == models
            assert (await world.call("/v1/models/sales-chat", method="GET")).status == 404
            assert (await world.call("/v1/models/support-chat", method="GET")).json["id"] == "support-chat"

    run(test)


def test_one_key_may_serve_several_policies(tmp_path: Path) -> None:
    async def test() -> None:
        other = a_policy("sales", models=["org/sales"], tenants=[{"name": "acme-sales", "keys": "sales/acme"}])
        async with World(tmp_path, a_document(a_policy(), other)) as world:
            world.write_key("sales/acme", KEY)
            await until(lambda: len(world.role.keys.folders_of(KEY.encode()) or ()) == 2)
            listed = await world.call("/v1/models", method="GET")
            assert [model["id"] for model in listed.json["data"]] == ["org/sales", "support-chat"]
            assert (await world.call("/v1/models/org%2Fsales", method="GET")).json["id"] == "org/sales"
            assert (await world.call("/v1/models/org/sales", method="GET")).json["id"] == "org/sales"
            await world.chat(model="org/sales")
            assert world.sidecar.seen[0].header(b"x-forebay-tenant") == b"acme-sales"

    run(test)


def test_a_key_that_is_taken_away_stops_working(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            assert (await world.chat()).status == 200
            (tmp_path / "keys/support/acme/key0").write_text("another\n")
            await until(lambda: world.role.keys.folders_of(b"another"))
            assert (await world.chat()).status == 401
            assert (await world.chat(key="another")).status == 200

    run(test)


def test_service_tier_picks_the_class_among_those_the_pools_serve(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for tier in ("priority", "flex", "default", "auto", None):
                assert (await world.chat(service_tier=tier)).status == 200
            classes = [request.header(b"x-forebay-class") for request in world.sidecar.seen]
            # No pool serves a NearRealTime class, so `default` is the policy's own.
            assert classes == [b"interactive", b"nightly", b"interactive", b"interactive", b"interactive"]
            records = await world.decisions(5)
            assert [record["reasons"][0] for record in records] == [
                "class-by-tier", "class-by-tier", "tier-not-served", "class-default", "class-default",
            ]  # fmt: skip

    run(test)


def test_weights_are_kept_exactly(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(
            a_policy(rules=[a_rule(pools={"default/chat": 3, "default/other": 1, "default/never": 0})]),
            pools=[a_pool("chat"), a_pool("other", model="other-model"), a_pool("never")],
        )
        async with World(tmp_path, document, {"chat": 1, "other": 1, "never": 1}) as world:
            for _ in range(20):
                assert (await world.chat()).status == 200
            assert (world.seen("chat"), world.seen("other"), world.seen("never")) == (15, 5, 0)
            assert orjson.loads(world.sidecars["other"][0].seen[0].body)["model"] == "other-model"

    run(test)


def test_a_pool_without_replicas_leaves_its_share_to_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(
            a_policy(rules=[a_rule(pools={"default/chat": 99, "default/other": 1})]), pools=[a_pool("chat"), a_pool("other")]
        )
        async with World(tmp_path, document, {"other": 1}) as world:
            got = await world.chat()
            assert got.status == 200
            assert "pool-failover" in (got.header("x-decision") or "")

    run(test)


def test_no_replica_is_503_with_retry_after_and_comes_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={}) as world:
            with counted("forebay_gateway_no_endpoint_total", 1, pool="default/chat"):
                got = await world.chat()
            assert (got.status, got.error["code"], got.header("retry-after")) == (503, "server_is_overloaded", "5")
            (record,) = await world.decisions(1)
            assert (record["accepted"], record["lost"], record["reasons"][-1]) == (False, False, "no-endpoint")
            sidecar = Sidecar()
            await sidecar.start()
            world.sidecars["chat"] = [sidecar]
            world.publish("chat")
            await until(lambda: world.role.fleet.endpoints())
            assert (await world.chat()).status == 200

    run(test)


def test_the_least_loaded_replica_is_chosen_by_what_sidecars_say(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            busy, idle = world.sidecars["chat"]
            busy.load = {"queued": 30, "inFlight": 8, "limit": 8, "draining": False}
            await until(lambda: any(endpoint.reported == 38 for endpoint in world.role.fleet.endpoints()))
            for _ in range(10):
                assert (await world.chat()).status == 200
            assert (len(busy.seen), len(idle.seen)) == (0, 10)
            busy.load, idle.load = idle.load, {**busy.load, "draining": True}
            await until(lambda: any(endpoint.draining for endpoint in world.role.fleet.endpoints()))
            for _ in range(10):
                assert (await world.chat()).status == 200
            assert (len(busy.seen), len(idle.seen)) == (10, 10)

    run(test)


def test_rules_pick_pools_by_tenant_and_class_first_match_wins(tmp_path: Path) -> None:
    async def test() -> None:
        rules = [
            a_rule("globex-only", pools={"default/other": 1}, match={"tenant": ["globex"]}),
            a_rule("nights", pools={"default/other": 1}, match={"class": ["nightly"]}),
            a_rule("rest", match={"model": ["support-chat"]}),
        ]
        document = a_document(a_policy(rules=rules), pools=[a_pool("chat"), a_pool("other")])
        async with World(tmp_path, document, {"chat": 1, "other": 1}) as world:
            assert (await world.chat()).header("x-forebay-policy") == "support/rest"
            assert (await world.chat(service_tier="flex")).header("x-forebay-policy") == "support/nights"
            assert (world.seen("chat"), world.seen("other")) == (1, 1)

    run(test)


def test_a_request_that_no_rule_matches_is_404(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, a_document(a_policy(rules=[a_rule(match={"tenant": ["globex"]})]))) as world:
            assert (await world.chat()).error["code"] == "model_not_found"
            assert (await world.call("/v1/models", method="GET")).json["data"] == []

    run(test)


def test_engines_answers_pass_with_their_status(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.answer = answers(422)
            got = await world.chat()
            assert (got.status, got.error["message"]) == (422, "no")
            world.sidecar.answer = answers(429, (b"retry-after", b"9"))
            got = await world.chat()
            assert (got.status, got.header("retry-after"), world.seen()) == (429, "9", 2)

    run(test)
