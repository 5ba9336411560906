"""A pool at minReplicas 0: nobody pays for it until somebody asks; then it is woken, also by an operator that has just come."""

from __future__ import annotations

import http.client
import json
import threading

from e2e import resources
from e2e.forebay import GATEWAY_PORT, Forebay, chat, send
from e2e.release import DEPLOYMENT, NAMESPACE
from e2e.waiting import eventually

SCALING = {"minReplicas": 0, "maxReplicas": 4, "scaleDown": {"stabilization": "5s"}}


def begin(forebay: Forebay) -> str:
    """The pool sleeps from the beginning; the gateway's address."""
    forebay.apply(
        resources.batch_class("interactive"),
        resources.keys(forebay.namespace),
        resources.pool(forebay.namespace, scaling=SCALING),
        resources.policy(forebay.namespace),
    )
    gateway = forebay.gateway()
    forebay.wait("froute/support", "Programmed")
    forebay.wait("fpool/chat")
    return gateway


def asleep(forebay: Forebay) -> bool:
    return forebay.condition("inferencepools", "Ready", "chat").get("reason") == "Asleep" and not forebay.replicas()


def ask(gateway: str) -> tuple[int, str]:
    """Status of one whole answer, and the reasons of the gateway's decision."""
    connection = http.client.HTTPConnection(gateway, GATEWAY_PORT, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {resources.KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(chat("support-chat", 5)), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-decision") or ""
    finally:
        connection.close()


def test_the_first_request_wakes_a_pool_and_is_answered_and_it_goes_to_sleep_again(forebay: Forebay) -> None:
    gateway = begin(forebay)
    assert asleep(forebay) and not forebay.nodes()
    assert forebay.condition("inferencepools", "MetricsFresh", "chat")["status"] == "True"
    status, decision = ask(gateway)
    assert (status, "held" in decision.split(",")) == (200, True), decision
    assert "gateways hold 1 request" in forebay.told("ScaledUp")
    assert forebay.nodes()
    eventually("the pool sleeps again", lambda: asleep(forebay), 120)
    assert "the pool sleeps, 1 → 0 replicas" in forebay.told("ScaledDown")
    eventually("no node is paid for", lambda: set(forebay.gpu_bounds().values()) <= {0}, 30)
    assert forebay.scale()["spec"].get("replicas", 0) == 0
    many = [threading.Thread(target=lambda: outcomes.append(send(gateway, 5))) for _ in range(8)]
    outcomes: list[str] = []
    for thread in many:
        thread.start()
    for thread in many:
        thread.join(120)
    assert outcomes == ["finished"] * 8


def test_an_operator_that_is_restarted_while_the_pool_sleeps_wakes_it(forebay: Forebay) -> None:
    gateway = begin(forebay)
    forebay.operator.scale(0)
    outcomes: list[str] = []
    asking = threading.Thread(target=lambda: outcomes.append(send(gateway, 5)))
    asking.start()
    eventually("the gateway holds the request", lambda: held(gateway) == 1, 30)
    assert not forebay.replicas()
    forebay.operator.scale(1)
    asking.join(150)
    assert outcomes == ["finished"], forebay.plane.kubectl("get", f"deploy/{DEPLOYMENT}", "-n", NAMESPACE)


def held(gateway: str) -> int:
    """Requests that a gateway replica holds, as the operator reads it."""
    connection = http.client.HTTPConnection(gateway, 9401, timeout=5)
    try:
        connection.request("GET", "/held")
        pools = json.load(connection.getresponse())["pools"]
        return sum(sum(pool["held"].values()) for pool in pools.values())
    finally:
        connection.close()
