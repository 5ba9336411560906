"""Class, rule and pool of a request, and which replica: the pure parts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule

from forebay.dataplane.gateway import reasons
from forebay.dataplane.gateway.config import Pool, parse
from forebay.dataplane.gateway.fleet import Replicas
from forebay.dataplane.gateway.routing import Route, Router, Spread


def pool(name: str) -> Pool:
    return Pool(f"default/{name}", "default", name, name, "m", "Chat", frozenset())


def routed(tier: str | None, *policies: dict[str, object], pools: list[dict[str, object]] | None = None) -> Route:
    router = Router(parse(a_document(*policies, pools=pools)))
    route = router.route("support-chat", "acme", tier, "Chat")
    assert route is not None
    return route


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_round_has_the_exact_shares(weights: list[int]) -> None:
    spread = Spread(tuple((pool(str(index)), weight) for index, weight in enumerate(weights)))
    for _ in range(2):
        picked = [spread.pick(lambda _: True) for _ in range(sum(weights))]
        assert [sum(found is entry for found in picked) for entry, _ in spread.pools] == weights


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_only_usable_pools_are_picked(weights: list[int], lame: set[int]) -> None:
    spread = Spread(tuple((pool(str(index)), weight) for index, weight in enumerate(weights)))
    usable = {f"default/{index}" for index in range(len(weights))} - {f"default/{index}" for index in lame}
    for _ in range(30):
        found = spread.pick(lambda candidate: candidate.key in usable)
        assert found.key in usable if usable and found else not usable


def test_the_tier_picks_the_highest_priority_among_the_classes_served() -> None:
    classes = {
        "slow": {"tier": "Deferred", "priority": 1, "maxAttempts": 1},
        "slower": {"tier": "Deferred", "priority": 0, "maxAttempts": 1},
        "unserved": {"tier": "Deferred", "priority": 9, "maxAttempts": 1},
        "interactive": {"tier": "Interactive", "priority": 100, "maxAttempts": 3},
    }
    document = a_document(pools=[a_pool("chat", classes=("slower", "slow", "interactive"))], classes=classes)
    route = Router(parse(document)).route("support-chat", "acme", "Deferred", "Chat")
    assert route is not None
    assert (route.batch_class.name, route.reason) == ("slow", reasons.CLASS_BY_TIER)


def test_a_class_goes_only_to_pools_that_serve_it() -> None:
    policy = a_policy(rules=[a_rule(pools={"default/day": 9, "default/night": 1})])
    pools = [a_pool("day", classes=("interactive",)), a_pool("night", classes=("nightly",))]
    assert [found.name for found, _ in routed("Deferred", policy, pools=pools).spread.pools] == ["night"]
    assert [found.name for found, _ in routed(None, policy, pools=pools).spread.pools] == ["day"]


def test_a_tier_that_only_a_later_rule_serves_is_found_there() -> None:
    rules = [a_rule("day", pools={"default/day": 1}, match={"class": ["interactive"]}), a_rule("night", pools={"default/night": 1})]
    pools = [a_pool("day", classes=("interactive", "nightly")), a_pool("night", classes=("nightly",))]
    route = routed("Deferred", a_policy(rules=rules), pools=pools)
    assert (route.rule.name, route.batch_class.name) == ("night", "nightly")


def test_the_default_class_holds_also_where_no_pool_serves_it() -> None:
    route = routed(None, pools=[a_pool("chat", classes=("nightly",))])
    assert (route.batch_class.name, [found.name for found, _ in route.spread.pools]) == ("interactive", ["chat"])


def test_a_default_class_that_was_deleted_does_not_stop_the_traffic() -> None:
    route = routed(None, a_policy(defaultClass="deleted"))
    assert (route.batch_class.name, route.batch_class.max_attempts, len(route.spread.pools)) == ("deleted", 1, 1)
    assert routed("Deferred", a_policy(defaultClass="deleted")).batch_class.name == "nightly"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=16))
def test_the_replica_with_the_smallest_share_in_use_is_picked(loads: list[tuple[int, int]]) -> None:
    replicas = Replicas()
    replicas.update((f"10.0.0.{index}", 1) for index in range(len(loads)))
    for endpoint, (queued, limit) in zip(replicas.endpoints, loads, strict=True):
        endpoint.told(queued, 0, limit, draining=False)
    picked = replicas.pick(())
    assert picked is not None
    assert picked.load == min(endpoint.load for endpoint in replicas.endpoints)


def test_a_burst_between_two_reports_spreads_over_all() -> None:
    replicas = Replicas()
    replicas.update((f"10.0.0.{index}", 1) for index in range(10))
    for endpoint in replicas.endpoints:
        endpoint.told(0, 0, 8, draining=False)
    for _ in range(100):
        picked = replicas.pick(())
        assert picked is not None
        picked.since += 1
    assert [endpoint.since for endpoint in replicas.endpoints] == [10] * 10


def test_a_replica_that_has_just_come_does_not_get_every_prompt() -> None:
    """It has the fewest in flight until it has as many as the others; its prompts would all wait for each other."""
    replicas = Replicas()
    replicas.update((f"10.0.0.{index}", 1) for index in range(4))
    for index, endpoint in enumerate(replicas.endpoints):
        endpoint.told(0, 60 if index else 0, 100, draining=False)
    for _ in range(12):
        picked = replicas.pick(())
        assert picked is not None
        picked.since += 1
        picked.unbegun_bytes += 16_000
    assert [endpoint.unbegun_bytes for endpoint in replicas.endpoints] == [48_000] * 4
    for endpoint in replicas.endpoints:
        endpoint.unbegun_bytes = 0
    assert replicas.pick(()) is replicas.endpoints[0]


def test_a_prompt_of_some_hundred_tokens_is_not_waited_for_where_another_replica_has_none() -> None:
    """In steps of 4 KiB it was none at all: first tokens due within 1.5 times what an idle replica needs took 16 replicas instead of 5."""
    replicas = Replicas()
    replicas.update([("10.0.0.1", 1), ("10.0.0.2", 1)])
    computing, decoding = replicas.endpoints
    computing.unbegun_bytes = 2_500
    decoding.told(0, 60, 100, draining=False)
    assert replicas.pick(()) is replicas.pick(()) is decoding


def test_short_prompts_are_no_reason_to_crowd_a_replica() -> None:
    replicas = Replicas()
    replicas.update([("10.0.0.1", 1), ("10.0.0.2", 1)])
    idle, busy = replicas.endpoints
    idle.unbegun_bytes = 300
    busy.told(0, 60, 100, draining=False)
    assert replicas.pick(()) is replicas.pick(()) is idle


def test_a_thousand_replicas_are_all_used() -> None:
    replicas = Replicas()
    replicas.update((f"10.0.{index // 250}.{index % 250}", 1) for index in range(1000))
    for _ in range(3000):
        picked = replicas.pick(())
        assert picked is not None
        picked.since += 1
    assert {endpoint.since for endpoint in replicas.endpoints} <= {2, 3, 4}


def test_what_is_known_of_a_replica_outlives_updates_of_the_list() -> None:
    replicas = Replicas()
    replicas.update([("10.0.0.1", 1), ("10.0.0.2", 1)])
    replicas.endpoints[0].told(3, 4, 8, draining=True)
    replicas.update([("10.0.0.3", 1), ("10.0.0.1", 1), ("10.0.0.1", 1)])
    assert [(endpoint.name, endpoint.reported) for endpoint in replicas.endpoints] == [("10.0.0.1:1", 7), ("10.0.0.3:1", 0)]


def test_unwell_replicas_are_the_last_resort_and_two_missed_polls_make_one() -> None:
    replicas = Replicas()
    replicas.update([("10.0.0.1", 1), ("10.0.0.2", 1)])
    one, two = replicas.endpoints
    one.silent()
    assert one.usable
    one.silent()
    assert {replicas.pick(()) for _ in range(4)} == {two}
    two.draining = True
    assert not replicas.usable(())
    assert replicas.pick([two]) is one
    assert replicas.pick([one, two]) is None
    one.told(0, 0, 1, draining=False)
    assert all(a is b is one for a, b in pairwise(replicas.pick(()) for _ in range(3)))
