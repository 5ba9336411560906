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
        ("- {name: team, usdPerHour: .nan}", "limits.yaml"),
        ("- {name: Team A, gpus: 8}", 'limits.yaml: [0].name: Invalid value: "Team A"'),
        ("- {name: a, gpus: 8}\n- {name: a, gpus: 9}", "two limits are named a: give each a name of its own"),
        ("name: a\ngpus: 8", "limits.yaml: must be a list of limits, such as `- {name: team, gpus: 8}`"),
        ("- {gpus: 8}", "limits.yaml: [0].name: Required value: Its name in status and messages."),
        ("{}", "limits.yaml: must be a list of limits"),
        ("- {name: a, gpus: 8}\n---\n- {name: b, gpus: 8}", "limits.yaml:3: one document is expected, here begins another"),
        ("- {name: a, gpus: [", "limits.yaml:"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_shared_limits(text, "limits.yaml")
