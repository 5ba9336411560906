"""What `forebay top`, `plan` and `explain` say of pools, and what they say where there are none to be seen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.cli.pools import STATUS, a_condition, a_new_pool, a_pool
from tests.dataplane.wires import serving

from forebay.cli import source, top
from forebay.cli.explain import sentences
from forebay.cli.main import main
from forebay.cli.plan import lines, row
from forebay.dataplane.http.server import Request, Response
from forebay.local.up import write_kubeconfig

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"

# top


def test_a_row_has_what_is_there_beside_what_is_wanted() -> None:
    assert top.cells(a_pool()) == ("default/chat", "3/4", "1", "3", "5.6", "450", "2", "21", "82ms", "98.5%", "7.77")


def test_a_pool_that_nobody_has_planned_has_no_figures() -> None:
    assert top.cells(a_new_pool()) == ("default/chat", "0/0", "0", "0", "-", "-", "-", "-", "-", "-", "unknown")


def rows(*pools: str) -> list[tuple[str, ...]]:
    return [top.TITLES, *(top.cells(a_pool(name)) for name in pools)]


@pytest.mark.parametrize(
    ("width", "gone"),
    [(120, []), (96, []), (95, ["TOK/S"]), (80, ["TOK/S", "RUNNING"]), (60, ["ON-DEMAND", "SPOT", "TOK/S", "RUNNING", "MET"])],
)
def test_a_narrow_terminal_loses_columns_and_none_is_squeezed(width: int, gone: list[str]) -> None:
    found = top.table(rows("chat", "embeddings"), width)
    assert max(map(len, found)) <= width
    assert [title for title in top.TITLES if title not in found[0]] == gone
    assert found[1].startswith("default/chat ")


def test_figures_stand_below_the_end_of_their_title() -> None:
    head, line = top.table(rows("chat"), 120)
    for title, cell in zip(top.TITLES[1:], top.cells(a_pool())[1:], strict=True):
        end = head.index(title) + len(title)
        assert line[:end].endswith(f" {cell}"), title


def test_of_a_name_that_is_too_long_the_end_stays() -> None:
    found = top.table(rows("a-model-with-a-very-long-name-7b", "a-model-with-a-very-long-name-70b"), 50)
    assert max(map(len, found)) <= 50
    assert [line.split()[0][-3:] for line in found[1:]] == ["-7b", "70b"]
    assert found[1].startswith("…")


def test_the_heading_sums_prices_unless_one_is_unknown() -> None:
    assert "2 pools   15.54 $/h   cache hits 80%" in top._heading([a_pool(), a_pool("other")], "80%")
    assert "unknown $/h" in top._heading([a_pool(), a_new_pool("other")], "-")


# plan


def test_reasons_stand_below_a_pool_whose_plan_differs_from_what_there_is() -> None:
    found = lines([row(a_pool()), row(a_pool("other", replicas=3))], 100)
    assert [line.split()[0] for line in found] == ["POOL", "default/chat", "default/other", "class", "gpu/full:"]


def test_what_cannot_be_held_stands_there_in_any_case() -> None:
    wrong = a_condition("SloFeasible", "False", "ObjectiveBelowServiceTime", "p95 120ms cannot be met")
    found = row(a_pool(conditions=[wrong, a_condition("Ready", "False", "NoReplicas")]))
    assert found["problems"] == ["SloFeasible: p95 120ms cannot be met"]
    assert lines([found], 100)[-1] == "  ! SloFeasible: p95 120ms cannot be met"


@pytest.mark.parametrize("reason", ["Limited", "PriceUnknown"])
def test_a_limit_that_binds_is_a_problem(reason: str) -> None:
    assert row(a_pool(conditions=[a_condition("BudgetRespected", "True", reason)]))["problems"] == ["BudgetRespected: the message"]


def test_a_plan_says_what_mode_a_pool_is_in() -> None:
    assert row(a_pool(spec={"scaling": {"paused": True}, "mode": "Enforce"}))["mode"] == "Paused"
    assert row(a_pool(spec={"mode": "Recommend"}))["mode"] == "Recommend"
    assert row(a_new_pool())["summary"] == "not planned yet"


def test_a_folder_is_planned_without_a_cluster(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plan", "-f", str(QUICKSTART)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 80
    assert said[0].split() == ["POOL", "MODE", "NOW", "ON-DEMAND", "SPOT", "$/H"]
    assert [line.split() for line in said if line.startswith("default/")] == [
        ["default/chat", "Enforce", "0", "1", "0", "3.93"],
        ["default/embeddings", "Enforce", "0", "1", "0", "0.17"],
    ]


def test_a_plan_that_cannot_hold_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in QUICKSTART.glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text().replace("classes: [interactive]", "classes: [fast]"))
    assert main(["plan", "-f", str(tmp_path), "--json"]) == 2
    chat = next(row for row in json.loads(capsys.readouterr().out) if row["pool"] == "default/chat")
    assert chat["problems"] == ["ResolvedRefs: there is no BatchClass named fast: create it, or take it out of spec.classes"]


# explain


def test_an_explanation_has_the_figures_and_the_reasons() -> None:
    assert sentences(a_pool()) == [
        "default/chat has 1 on-demand + 3 spot: 3 of 4 replicas answer, at 7.77 $/h. Decided 2026-05-04T03:02:01Z (07de3c3ebfa72f89).",
        "Measured: 5.64 requests/s, 90 input and 450.4 output tokens/s, 2 queued, 21 in flight.",
        "p95 time to first token 82ms, objectives met by 98.5%.",
        "Because:",
        "  - class interactive: 5.64 requests/s",
        "  - gpu/full: 4 replicas by timeToFirstToken",
    ]


def test_an_explanation_tells_what_is_expected_and_whether_it_counts() -> None:
    row = {
        "name": "interactive",
        "horizon": "1m55s",
        "coverage": 0.9,
        "observedCoverage": 0.912,
        "model": "day",
        "drives": True,
        "inputTokensPerSecond": {"p50": 900.0, "upper": 1210.5},
        "outputTokensPerSecond": {"p50": 450.0, "upper": 600.0},
    }
    told = "Class interactive in 1m55s by day: 900 input tokens/s, at most 1210.5 and 450 output tokens/s, at most 600 with coverage 0.9"
    said = sentences(a_pool(demand={**STATUS["demand"], "forecast": [row]}))
    assert f"{told}, held 91.2% of the last day. It sizes the pool." in said
    young = {k: v for k, v in row.items() if k not in ("observedCoverage", "outputTokensPerSecond")} | {"drives": False}
    said = sentences(a_pool(demand={"forecast": [young]}, conditions=[a_condition("ForecastCalibrated", "Unknown", "Learning")]))
    assert "Class interactive in 1m55s by day: 900 input tokens/s. It does not size the pool: see ForecastCalibrated." in said
    assert "To look at:" not in said
    young["doubt"] = "4 of its forecasts came due, 45 are needed"
    said = sentences(a_pool(demand={"forecast": [young]}))
    assert "Class interactive in 1m55s by day: 900 input tokens/s. Not used: 4 of its forecasts came due, 45 are needed." in said


def test_an_explanation_has_the_prices_and_start_times_that_its_figures_rest_on() -> None:
    lead = [{"stage": s, "p50": "3s", "p90": p90, "samples": 12} for s, p90 in (("node", "500ms"), ("load", "4s"), ("ready", "5s"))]
    variants = [
        {"name": "chat-gpu-on-demand", "accelerator": "gpu", "capacityType": "on-demand", "desired": 1, "usdPerHour": 3.93, "lead": lead},
        {"name": "chat-gpu-7-spot", "accelerator": "gpu", "partition": "1g.10gb", "capacityType": "spot", "desired": 3},
        {"name": "chat-other-spot", "accelerator": "other", "capacityType": "spot", "desired": 0, "usdPerHour": 9.0},
    ]
    said = sentences(a_pool(variants=variants))
    assert "Prices of a node: gpu on-demand 3.93 $/h, gpu 1g.10gb spot unknown." in said
    starts = (
        "Starts of gpu on-demand: nine in ten (p90) are ready within 5s, half within 3s; of 12 seen, p90 by stage: node 500ms, load 4s."
    )
    assert [line for line in said if line.startswith("Starts")] == [starts]


def test_what_is_not_measured_is_not_told_as_no_load() -> None:
    blind = a_pool(demand={"forecast": []})
    assert top.cells(blind)[4:8] == ("-", "-", "-", "-")
    assert "Measured: nothing fresh, which is not that nothing is asked." in sentences(blind)


def test_conditions_that_need_a_person_are_told_and_no_others() -> None:
    conditions = [
        a_condition("Ready", "True", "ReplicasReady"),
        a_condition("MetricsFresh", "Unknown", "NoSamples", "no sidecar has been measured yet"),
        a_condition("Paused", "True", "Paused", "spec.scaling.paused is set"),
        a_condition("FieldConflict", "False", "NoConflict"),
    ]
    assert sentences(a_pool(conditions=conditions))[-3:] == [
        "To look at:",
        "  - MetricsFresh=Unknown, NoSamples: no sidecar has been measured yet",
        "  - Paused=True, Paused: spec.scaling.paused is set",
    ]


def test_a_pool_without_an_operator_is_said_to_be_so() -> None:
    assert sentences(a_new_pool()) == ["default/chat has not been planned yet: is the operator running?"]


# where there is nothing to be seen


@pytest.mark.parametrize("command", [["top", "--once"], ["plan"], ["explain", "chat"]])
def test_without_a_cluster_each_command_says_so(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source, "RUN_FILE", tmp_path / "up.kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for arguments, message in (
        ([*command, "--local"], "no `forebay up` runs on this machine"),
        (command, f"there is no kubeconfig {tmp_path / 'none'}"),
        ([*command, "--kubeconfig", str(tmp_path / "other")], f"there is no kubeconfig {tmp_path / 'other'}"),
    ):
        assert main(arguments) == 1, arguments
        assert message in capsys.readouterr().err


def test_a_cluster_without_our_kinds_is_told_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert against(404, tmp_path, ["plan"]) == 1
    assert "install the chart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "message"), [(403, "the cluster cannot be asked: not for you"), (500, "the cluster cannot be asked: not for you")]
)
def test_a_cluster_that_refuses_is_quoted(status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert against(status, tmp_path, ["top", "--once"]) == 1
    assert message in capsys.readouterr().err


def against(status: int, path: Path, command: list[str]) -> int:
    """The exit code of a command whose API server answers everything with this status."""

    async def refuse(request: Request, response: Response) -> None:
        response.send(status, json.dumps({"kind": "Status", "code": status, "message": "not for you"}).encode())

    async def run() -> int:
        async with serving(refuse) as server:
            write_kubeconfig(path / "kubeconfig", f"http://127.0.0.1:{server.port}")
            return await asyncio.to_thread(main, [*command, "--kubeconfig", str(path / "kubeconfig")])

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "the following arguments are required: pool"),
        (["top", "--interval", "soon"], "argument --interval: 'soon' is not a duration: write it as 250ms, 30s or 1h30m"),
        (["top", "--interval", "0s"], "argument --interval: must be longer than nothing"),
        (["top", "--local", "--kubeconfig", "k"], "not allowed with argument --local"),
        (["plan", "-f"], "expected one argument"),
        (["plan", "more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 64
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.yaml").write_text("kind: [\n")
    assert main(["plan", "-f", str(tmp_path)]) == 1
    assert f"{tmp_path}/broken.yaml:2:" in capsys.readouterr().err
    assert main(["plan", "-f", str(tmp_path / "none")]) == 1
    assert f"forebay: {tmp_path}/none: no such file or folder" in capsys.readouterr().err
