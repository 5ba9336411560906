"""`forebay plan -f DIR --against STATE`: what a pull request would change, from recorded decisions and from a live API."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from forebay.cli.main import main
from forebay.local.api_server import api_server
from forebay.local.folder import read_folder
from forebay.local.up import write_kubeconfig
from forebay.planning.variants import engine_profile
from forebay.simulation.arrivals import renewal, stages
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def a_busy_operator(rps: float = 5.0) -> SimulatedOperator:
    """The quickstart's chat pool after twenty minutes of a steady load."""
    operator = SimulatedOperator(read_folder(QUICKSTART).objects.values(), "default", "chat")
    profiles = {name: engine_profile(operator.spec, v.profile) for name, v in operator.variants().items() if v.profile}
    fleet = Fleet(profiles, lambda _: 30.0, operator.counts())
    operator.attach(fleet)
    setup = Setup(next(iter(profiles.values())), 30.0, 1, 6, 1, by_class=True)
    Run(setup, operator, fleet).through(Request(t, 40, 80, "interactive") for t in renewal(stages([(rps, 1200.0)]), 3))
    return operator


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    operator = a_busy_operator()
    operator.close()
    path = tmp_path_factory.mktemp("state") / "decisions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in operator.decisions.records))
    return path


def a_folder(tmp_path: Path, *changes: tuple[str, str]) -> str:
    """The quickstart with texts of its pools and classes replaced."""
    shutil.copytree(QUICKSTART, tmp_path / "pr")
    for path in (tmp_path / "pr").glob("*.yaml"):
        text = path.read_text()
        for old, new in changes:
            text = text.replace(old, new)
        path.write_text(text)
    return str(tmp_path / "pr")


def chat(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    code = main(["plan", "--json", *args])
    found = {change["pool"]: change for change in json.loads(capsys.readouterr().out)}
    return code, found["default/chat"]


def test_a_folder_that_changes_nothing_changes_nothing(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = chat(capsys, "-f", a_folder(tmp_path), "--against", str(records))
    assert code == 0 and found["measured"] and found["before"] == found["after"]
    assert found["after"]["replicas"] >= 3 and 0 < found["after"]["headroom"] < 1 and found["after"]["usdPerHour"] > 0
    assert found["after"]["objectives"][0]["expectedSeconds"] < found["after"]["objectives"][0]["targetSeconds"]


def test_a_state_whose_last_line_was_cut_off_is_the_one_before(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "torn.jsonl"
    torn.write_text(records.read_text()[:-100])
    assert main(["plan", "-f", a_folder(tmp_path), "--against", str(torn)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"forebay: left out: {torn}:{len(records.read_text().splitlines())}: not JSON: ")
    assert "default/chat" in captured.out


def test_a_tighter_objective_costs_replicas_and_a_looser_one_saves_none_below_throughput(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight, loose = ("target: 1s", "target: 85ms"), ("target: 1s", "target: 30s")
    code, dear = chat(capsys, "-f", a_folder(tmp_path / "a", tight), "--against", str(records))
    assert code == 0 and dear["after"]["replicas"] > dear["before"]["replicas"]
    assert dear["after"]["usdPerHour"] > dear["before"]["usdPerHour"]
    code, cheap = chat(capsys, "-f", a_folder(tmp_path / "b", loose), "--against", str(records))
    assert code == 0 and cheap["after"]["replicas"] <= cheap["before"]["replicas"] and cheap["after"]["headroom"] > 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("target: 1s", "target: 20ms"), "SloFeasible: class interactive: timeToFirstToken 20ms cannot be met"),
        (
            ("maxReplicas: 6", "maxReplicas: 2"),
            "SloFeasible: interactive/timeToFirstToken needs 3 replicas of sim-gpu/full, more than maxReplicas 2",
        ),
        (("limits: {gpus: 8, usdPerHour: 20}", "limits: {gpus: 2, usdPerHour: 20}"), "BudgetRespected: "),
        (("classes: [interactive]", "classes: [interactive, gone]"), "ResolvedRefs: there is no BatchClass named gone"),
        (("classes: [interactive]", "classes: [interactve]"), "ResolvedRefs: there is no BatchClass named interactve"),
    ],
)
def test_what_would_break_is_named_and_the_exit_code_is_2(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], told: str
) -> None:
    folder = a_folder(tmp_path, change)
    assert main(["plan", "-f", folder, "--against", str(records)]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert told.split(" needs")[0].split("/")[0].split(":")[0] in shown
    _, found = chat(capsys, "-f", folder, "--against", str(records))
    assert found["breaks"] and any(problem.startswith(told.split(":")[0]) for problem in found["after"]["problems"])


def test_a_shared_limit_counts_pools_that_the_folder_leaves_out(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "limits.yaml"
    other = [json.loads(line) for line in records.read_text().splitlines()][-1]
    other["pool"], other["snapshot"]["pool"]["name"] = "default/other", "other"
    both = tmp_path / "both.jsonl"
    both.write_text(records.read_text() + json.dumps(other) + "\n")
    limits.write_text("- {name: team, namespaces: [default], gpus: 4}")
    code, found = chat(capsys, "-f", a_folder(tmp_path), "--against", str(both), "--shared-limits", str(limits))
    assert code == 2 and found["before"] == found["after"] and found["after"]["replicas"] == 2
    (problem,) = found["after"]["problems"]
    assert "shared limit team (gpus 4): 2 of " in problem
    limits.write_text("- {name: team, namespaces: [elsewhere], gpus: 4}")
    assert main(["plan", "-f", str(tmp_path / "pr"), "--against", str(both), "--shared-limits", str(limits)]) == 0


@pytest.mark.parametrize("held", [{"mode": "Recommend"}, {"scaling": {"paused": True, "minReplicas": 1, "maxReplicas": 6}}])
def test_what_a_pool_has_that_gives_nothing_back_is_not_given_to_others(
    held: dict[str, Any], records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both were planned to have all that they want, and together had more than the limit; the exit code was 0."""
    other = [json.loads(line) for line in records.read_text().splitlines()][-1]
    other["pool"], other["snapshot"]["pool"]["name"] = "default/other", "other"
    other["snapshot"]["spec"] |= held
    has = sum(d["replicas"] for d in other["snapshot"]["deployments"])
    (both := tmp_path / "both.jsonl").write_text(records.read_text() + json.dumps(other) + "\n")
    (limits := tmp_path / "limits.yaml").write_text(f"- {{name: team, gpus: {has + 1}}}")
    code, found = chat(capsys, "-f", a_folder(tmp_path), "--against", str(both), "--shared-limits", str(limits))
    assert has > 1 and code == 2 and found["after"]["replicas"] == 1
    assert f"; default/other keeps gpus {has}" in found["after"]["problems"][0]


def test_nothing_grows_beside_a_pool_whose_nodes_have_no_price(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = [json.loads(line) for line in records.read_text().splitlines()][-1]
    other["pool"], other["snapshot"]["pool"]["name"] = "default/other", "other"
    del other["snapshot"]["spec"]["capacity"]["accelerators"][0]["usdPerHour"]
    (both := tmp_path / "both.jsonl").write_text(records.read_text() + json.dumps(other) + "\n")
    (limits := tmp_path / "limits.yaml").write_text("- {name: team, usdPerHour: 1000}")
    tight = a_folder(tmp_path, ("target: 1s", "target: 85ms"))
    code, found = chat(capsys, "-f", tight, "--against", str(both), "--shared-limits", str(limits))
    assert code == 2 and found["before"]["replicas"] == found["after"]["replicas"]
    assert "what default/other takes cannot be counted: set the prices" in found["after"]["problems"][0]


def test_a_shared_limit_that_binds_no_pool_is_told_and_no_error(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A namespace that was misspelt; or a pool that comes later."""
    (limits := tmp_path / "limits.yaml").write_text("- {name: team, namespaces: [defautl, ml], gpus: 0}\n- {name: all, gpus: 1000}\n")
    assert main(["plan", "-f", a_folder(tmp_path), "--against", str(records), "--shared-limits", str(limits)]) == 0
    told = f"forebay: --shared-limits {limits}: limit team binds no pool: its namespaces are defautl, ml, there are pools in default\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("- {name: a}", "gives no bound"),
        ("- [", "limits.yaml:"),
        ("\udcff", "limits.yaml: not UTF-8 text: a list of {name,"),
    ],
)
def test_shared_limits_that_cannot_be_read_are_said_in_one_line(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, told: str
) -> None:
    limits = tmp_path / "limits.yaml"
    if text is not None:
        limits.write_bytes(text.encode(errors="surrogateescape"))
    code = main(["plan", "-f", a_folder(tmp_path), "--against", str(records), "--shared-limits", str(limits)])
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--shared-limits" in line and told in line


def test_prices_that_are_unknown_stay_unknown(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpriced = ("usdPerHour: {onDemand: 3.93, spot: 1.28}", ""), ("limits: {gpus: 8, usdPerHour: 20}", "limits: {gpus: 8}")
    code, found = chat(capsys, "-f", a_folder(tmp_path, *unpriced), "--against", str(records))
    assert code == 0 and found["before"]["usdPerHour"] > 0 and found["after"]["usdPerHour"] is None


def test_a_class_that_is_served_no_more_is_told_for_its_load_is_left_out(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pool that serves another class had one replica, all the headroom and no word on why."""
    folder = a_folder(tmp_path, ("classes: [interactive]", "classes: [lookup]"))
    _, found = chat(capsys, "-f", folder, "--against", str(records))
    assert found["unservedClasses"] == ["interactive"] and found["after"]["replicas"] < found["before"]["replicas"]
    main(["plan", "-f", folder, "--against", str(records)])
    assert "planned without the load of interactive, which it serves now" in " ".join(capsys.readouterr().out.split())
    _, found = chat(capsys, "-f", a_folder(tmp_path / "same"), "--against", str(records))
    assert found["unservedClasses"] == []


def test_a_pool_that_is_new_says_so(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", a_folder(tmp_path), "--against", str(records)]) == 0
    told = capsys.readouterr().out
    assert "default/embeddings" in told and "new: planned for no load" in told


def a_part(tmp_path: Path, file: str, *changes: tuple[str, str]) -> str:
    """One file of the quickstart, with texts replaced."""
    text = (QUICKSTART / file).read_text()
    for old, new in changes:
        text = text.replace(old, new)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / file).write_text(text)
    return str(tmp_path / "part")


def test_a_pool_that_the_folder_leaves_out_of_its_namespaces_is_shown_as_removed(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = a_folder(tmp_path, ("name: chat\n", "name: other\n"))
    code, found = chat(capsys, "-f", left, "--against", str(records))
    assert code == 0 and found["before"]["replicas"] >= 3 and found["after"] is None
    assert found["removedByPruning"] and not found["inFolder"] and not found["breaks"]
    assert main(["plan", "-f", left, "--against", str(records)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    usd = f"{found['before']['usdPerHour']:.2f}"
    assert f"{found['before']['replicas']} → removed {usd} → 0.00" in told
    assert f"not in the folder; whatever prunes removes it, and with it {usd} $/h" in told


def test_a_new_pool_of_another_namespace_has_the_classes_that_there_are(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And pools of namespaces that the folder holds nothing of are none of its business."""
    elsewhere = a_part(tmp_path, "pools.yaml", ("namespace: default", "namespace: elsewhere"), ("[lookup]", "[interactive]"))
    assert main(["plan", "-f", elsewhere, "--against", str(records)]) == 0
    told = capsys.readouterr().out
    assert "elsewhere/chat" in told and "default/chat" not in told


def test_a_folder_of_classes_plans_the_pools_that_have_them(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = chat(capsys, "-f", a_part(tmp_path, "classes.yaml", ("target: 1s", "target: 85ms")), "--against", str(records))
    assert code == 0 and not found["inFolder"] and not found["removedByPruning"]
    assert found["after"]["replicas"] > found["before"]["replicas"]
    (tmp_path / "b").mkdir()
    folder = a_part(tmp_path / "b", "classes.yaml", ("target: 1s", "target: 20ms"))
    assert main(["plan", "-f", folder, "--against", str(records)]) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert "timeToFirstToken 20ms cannot be met" in told and "not in the folder; planned with the classes of the folder" in told


def test_a_folder_of_classes_that_are_as_they_were_changes_nothing(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_part(tmp_path, "classes.yaml")
    assert main(["plan", "-f", folder, "--against", str(records)]) == 0
    assert "nothing changes" in capsys.readouterr().out
    assert main(["plan", "-f", folder, "--against", str(records), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_changed_class_is_held_against_pools_that_pruning_would_remove_too(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether anything prunes is not known: what the class breaks is told."""
    folder = a_folder(tmp_path, ("name: chat\n", "name: other\n"), ("target: 1s", "target: 20ms"))
    code, found = chat(capsys, "-f", folder, "--against", str(records))
    assert code == 2 and found["removedByPruning"] and found["breaks"]


def test_one_namespace_of_the_folder_is_shown(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", a_folder(tmp_path), "--against", str(records), "-n", "default"]) == 0
    assert "default/chat" in capsys.readouterr().out
    assert main(["plan", "-f", str(tmp_path / "pr"), "--against", str(records), "-n", "foo"]) == 64
    assert "-n foo: the folder changes nothing there, only in default" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-n", "foo"], "-f plans a folder without a cluster: -n goes with a cluster"),
        (["--local"], "-f plans a folder without a cluster: --local goes with a cluster"),
        (["--kubeconfig", "k"], "-f plans a folder without a cluster: --kubeconfig goes with a cluster"),
        (["--against", "state.jsonl", "--local"], "--against state.jsonl is a file: --local goes with a cluster"),
    ],
)
def test_where_no_cluster_is_read_options_that_say_which_are_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "-f", str(QUICKSTART), *arguments]) == 64
    assert told in capsys.readouterr().err


def test_a_folder_of_neither_pools_nor_classes_is_none(records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", a_part(tmp_path, "routing.yaml"), "--against", str(records)]) == 1
    assert "there is no InferencePool and no BatchClass" in capsys.readouterr().err


def test_a_live_api_is_a_state_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = a_busy_operator()
    folder = a_folder(tmp_path, ("minReplicas: 1\n    maxReplicas: 6", "minReplicas: 5\n    maxReplicas: 6"))

    async def asked() -> int:
        async with api_server(operator.cluster, "127.0.0.1", 0) as api:
            write_kubeconfig(tmp_path / "kubeconfig", api)
            where = ["--against", "cluster", "--kubeconfig", str(tmp_path / "kubeconfig"), "-n", "default"]
            return await asyncio.to_thread(main, ["plan", "--json", "-f", folder, *where])

    operator.close()
    assert asyncio.run(asked()) == 0
    found = {change["pool"]: change for change in json.loads(capsys.readouterr().out)}
    chat = found["default/chat"]
    assert chat["measured"] and chat["after"]["replicas"] == 5 > chat["before"]["replicas"] > 1
    assert not found["default/embeddings"]["measured"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no decision in it"),
        ("{}\n", ":1: not a decision record"),
        ('{"time": "", "pool": 7, "id": "", "snapshot": {}, "plan": {}}\n', ":1: not a decision record"),
        ('{"time": "", "pool": "a/b", "id": "", "snapshot": {}, "plan": {}}\n', ":1: snapshot."),
    ],
)
def test_a_state_that_cannot_be_read_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str) -> None:
    path = tmp_path / "state.jsonl"
    path.write_text(text)
    assert main(["plan", "-f", str(QUICKSTART), "--against", str(path)]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-f", str(QUICKSTART), "--against", ""], ["-f", "", "--against", "state.jsonl"], ["-f", ""]])
def test_a_variable_of_ci_that_is_not_set_is_no_state_and_no_folder(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without its state a folder was planned as if newly applied, and without its folder whichever CI happened to be in."""
    assert main(["plan", *arguments]) == 64
    assert "must not be empty" in capsys.readouterr().err


def test_a_state_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--against", "cluster"]) == 64
    assert "say which with -f DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "kustomization.yaml",
            "resources: [pools.yaml]\n",
            "kustomization.yaml:1: apiVersion is missing, or is not text; it is kustom",
        ),
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\n",
            "Chart.yaml:1: kind is missing, or is not text; it is of a Helm chart: give",
        ),
        ("t.yaml", "{{- if .Values.on }}\nkind: InferencePool\n{{- end }}\n", "; it is of a Helm chart: give the file that `helm template"),
        ("plain.yaml", "a: [\n", "plain.yaml:2: did not find expected node content\n"),
    ],
)
def test_what_must_be_rendered_first_is_said(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, told: str
) -> None:
    folder = Path(a_folder(tmp_path))
    (folder / file).write_text(text)
    assert main(["plan", "-f", str(folder), "--against", str(records)]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("against", [True, False])
def test_what_kustomize_would_change_is_said_not_to_be_in_the_plan(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], against: bool
) -> None:
    """The folder's pools would go into another namespace, and were planned in silence where they stand."""
    folder = Path(a_folder(tmp_path))
    kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pools.yaml]\nnamespace: prod\n"
    (folder / "kustomization.yaml").write_text(kustomization)
    assert main(["plan", "-f", str(folder), *(["--against", str(records)] if against else [])]) == 0
    said = capsys.readouterr().err
    assert "kustomization.yaml:1: files are read as they stand, and not as kustomize would change them: give the file that" in said


def test_a_load_of_long_ago_is_said_to_be_of_then(
    records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = chat(capsys, "-f", a_folder(tmp_path), "--against", str(records))
    at = datetime.fromisoformat(found["measuredAt"]).timestamp()
    for later_s, said in ((600.0, None), (7300.0, "2 hours ago"), (5 * 86_400.0, "5 days ago")):
        monkeypatch.setattr("time.time", lambda later_s=later_s: at + later_s)
        main(["plan", "-f", str(tmp_path / "pr"), "--against", str(records)])
        told = " ".join(capsys.readouterr().out.split())
        assert ("planned for the load of" in told) == (said is not None)
        assert said is None or f"planned for the load of {found['measuredAt']}, {said}" in told
