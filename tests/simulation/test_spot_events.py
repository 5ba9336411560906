"""What spot nodes did, from files: Parcae's traces as they are, and ours; what cannot be used is named with its line."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from forebay.planning.work import EngineProfile
from forebay.simulation.files import WorkloadError
from forebay.simulation.fleet import Fleet
from forebay.simulation.fortune import Fortune, befall
from forebay.simulation.laws.static import Static
from forebay.simulation.run import Run, Setup
from forebay.simulation.spot_events import ADD, LOST, REMOVE, Change, read_spot


def a_file(folder: Path, text: str) -> Path:
    path = folder / "spot.csv"
    path.write_text(text)
    return path


def test_named_nodes_come_and_go(tmp_path: Path) -> None:
    found = read_spot(a_file(tmp_path, "0,add,n1\n0,add,n2\n60000,remove,n1\n90000,add,n1\n"))
    assert found == (Change(0.0, ADD, "n1"), Change(0.0, ADD, "n2"), Change(60.0, REMOVE, "n1"), Change(90.0, ADD, "n1"))


@pytest.mark.parametrize("text", ["0,1\n0,2\n60000,4\n90000,1\n", "time_s,available\n0,2\n60,4\n90,1\n"])
def test_counted_nodes_come_and_go_and_which_go_is_drawn(tmp_path: Path, text: str) -> None:
    found = read_spot(a_file(tmp_path, text), seed=1)
    assert [(c.at, c.kind) for c in found] == [(0.0, ADD)] * 2 + [(60.0, ADD)] * 2 + [(90.0, REMOVE)] * 3
    gone = [c.node for c in found if c.kind == REMOVE]
    assert len(set(gone)) == 3 and set(gone) < {c.node for c in found if c.kind == ADD}
    assert found == read_spot(a_file(tmp_path, text), seed=1)
    assert len({read_spot(a_file(tmp_path, text), seed=seed) for seed in range(8)}) > 1


@pytest.mark.parametrize("text", ["0,0\n", "0,0\n60000,0\n", "time_s,available\n30,0\n"])
def test_no_spot_node_at_all(tmp_path: Path, text: str) -> None:
    """Without any change it would be taken that spot nodes are there as often as they are asked for."""
    changes = read_spot(a_file(tmp_path, text))
    assert [(c.at, c.kind) for c in changes] == [(0.0, ADD), (0.0, REMOVE)]
    engine = EngineProfile(0.1, 0.0, 0.0, 4)
    run = Run(Setup(engine, 60.0, 1, 10, 1), Static(1), Fleet({"spot": engine}, lambda _: 60.0, {"spot": 2}))
    befall(run, Fortune(changes), ["spot"], 1)
    assert [replica.node_at for replica in run.fleet.all] == [inf, inf]


def test_losses_alone(tmp_path: Path) -> None:
    assert read_spot(a_file(tmp_path, "time_s,lost\n600,1\n900.5,3\n")) == (Change(600.0, LOST, count=1), Change(900.5, LOST, count=3))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "spot.csv is empty"),
        (",\n", "spot.csv is empty: expected are the header time_s,available"),
        ('0,1\n5,"2\n6,3\n', "line 2: unexpected end of data: is a quote left open?"),
        ("when,what\n1,2\n", "spot.csv, line 1: when, what: expected are the header time_s,available or time_s,lost"),
        ("time_s,lost\n", "there is nothing below the header"),
        ("0,1\n-5,2\n", "line 2: '-5' is not a time from 0 on"),
        ("0,1\nnan,2\n", "line 2: 'nan' is not a time"),
        ("10,1\n5,2\n", "line 2: comes before the line above; sort it by time"),
        ("0,1\n5,many\n", "line 2: 'many' is not a number of nodes from 0 to 10,000"),
        ("0,1\n5,99999\n", "line 2: '99999' is not a number of nodes"),
        ("0,1\n5,2,3\n", "line 2: 3 cells where there are 2 above"),
        ("0,add,a\n5,lose,a\n", "line 2: 'lose' of 'a': a row adds or removes a node"),
        ("0,add,a\n5,add,a\n", "line 2: a is there already"),
        ("0,add,a\n5,remove,b\n", "line 2: b is not there"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkloadError) as error:
        read_spot(a_file(tmp_path, text))
    assert told in str(error.value)
