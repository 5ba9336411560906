"""The file of limits that several pools share."""

from __future__ import annotations

import re

import pytest

from forebay.api.shared_limits import read_shared_limits


def test_limits_bind_the_pools_of_their_namespaces() -> None:
    team, everybody = read_shared_limits("- {name: team, namespaces: [ml], gpus: 8}\n- {name: all, usdPerHour: 40}\n")
    assert (team.binds("ml"), team.binds("eval"), everybody.binds("eval")) == (True, False, True)
    assert (team.bounds.gpus, everybody.bounds.usd_per_hour) == (8, 40.0)


def test_an_empty_file_has_no_limits() -> None:
    assert read_shared_limits("# none yet\n") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {name: team}", "limits.yaml: [0]: gives no bound: set gpus, usdPerHour or both"),
        ("- {name: team, gpu: 8, gpus: 8}", 'limits.yaml: [0].gpu: unknown field "[0].gpu"; did you mean "gpus"?'),
        ("- {name: team, gpus: -1}", "limits.yaml: [0].gpus: Invalid value: -1: [0].gpus in body should be greater than or equal to 0"),
        ("- {name: team, gpus: 1.5}", 'limits.yaml: [0].gpus: Invalid value: "number": [0].gpus in body must be of type integer'),
        (
            "- {name: team, gpus: true}",
            'must be of type integer: "boolean"; write a whole number of GPUs, such as `gpus: 8`, or leave it out',
        ),
        ("- {name: team, gpus: '8'}", 'must be of type integer: "string"; write a whole number of GPUs, such as `gpus: 8`'),
        (
            "- {name: team, usdPerHour: -2}",
            "should be greater than or equal to 0; write dollars per hour as a number, such as `usdPerHour: 40`",
        ),
        ("- {name: team, usdPerHour: .nan}", "limits.yaml:1: nan is not a number that JSON can hold; write one, or put quotes"),
        ("- {name: team, usd_per_hour: 3}", 'unknown field "[0].usd_per_hour"; did you mean "usdPerHour"?'),
        ("- {name: team, gpus: 8, pools: []}", 'unknown field "[0].pools"; a limit has the fields name, namespaces, gpus, usdPerHour'),
        ("- {name: team, gpus: 8, namespaces: ml}", "write a list of names, such as `namespaces: [ml, eval]`, or leave it out for all"),
        ("- {name: team, gpus: 8, namespaces: [Ml]}", "write a list of names, such as `namespaces: [ml, eval]`"),
        ("- 8", 'must be of type object: "integer"; write a limit such as `- {name: team, gpus: 8}`'),
        ("- {name: Team A, gpus: 8}", 'limits.yaml: [0].name: Invalid value: "Team A"'),
        ("- {name: a, gpus: 8}\n- {name: a, gpus: 9}", "two limits are named a: give each a name of its own"),
        ("name: a\ngpus: 8", "limits.yaml: must be a list of limits, such as `- {name: team, gpus: 8}`"),
        (
            "- {gpus: 8}",
            "[0].name: Required value: Its name in status and messages; write small letters, digits and hyphens, such as `name: team`",
        ),
        ("{}", "must be a list of limits, such as `- {name: team, gpus: 8}`; for no limits leave the file empty, or write []"),
        ("operator: {sharedLimits: []}", "'operator' is how the chart's values begin: write what is below sharedLimits alone"),
        ("sharedLimits: []", "'sharedLimits' is how the chart's values begin: write what is below sharedLimits alone"),
        ("- {name: a, gpus: 8}\n---\n- {name: b, gpus: 8}", "limits.yaml:3: one document is expected, here begins another"),
        ("- {name: a, gpus: [", "limits.yaml:"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_shared_limits(text, "limits.yaml")
