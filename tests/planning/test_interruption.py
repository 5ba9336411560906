"""Which nodes are about to go away."""

from __future__ import annotations

import pytest
from tests.planning.builders import a_node

from forebay.planning.interruption import SIGNALS, Signal, interruption
from forebay.planning.snapshot import NodeView, Taint


def marked(signal: Signal, value: str) -> NodeView:
    if signal.on == "label":
        return a_node(labels={signal.key: value})
    return a_node(taints=(Taint(key=signal.key, value=value, effect="NoSchedule"),))


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.key)
def test_every_mark_of_the_table_counts(signal: Signal) -> None:
    assert interruption(marked(signal, signal.value or "whatever")) == f"{signal.on} {signal.key} ({signal.source})"


@pytest.mark.parametrize("signal", [s for s in SIGNALS if s.value], ids=lambda s: s.key)
def test_a_mark_with_another_value_does_not(signal: Signal) -> None:
    assert interruption(marked(signal, "DONE")) is None


def test_marks_are_looked_for_where_they_are_set() -> None:
    taint, label = (next(s for s in SIGNALS if s.on == on) for on in ("taint", "label"))
    assert interruption(a_node(labels={taint.key: ""})) is None
    assert interruption(a_node(taints=(Taint(key=label.key, value=label.value or ""),))) is None


def test_nodes_that_are_not_ready_or_are_deleted() -> None:
    assert interruption(a_node()) is None
    assert interruption(a_node(ready=False)) == "the node is not ready"
    assert interruption(a_node(deleting=True)) == "the node is being deleted"


def test_a_cordon_alone_is_no_interruption() -> None:
    """Somebody, or a change of layout, keeps new pods away; those that are there stay."""
    node = a_node(unschedulable=True, taints=(Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule"),))
    assert interruption(node) is None


def test_sources_are_told_apart() -> None:
    assert len({(s.on, s.key) for s in SIGNALS}) == len(SIGNALS)
