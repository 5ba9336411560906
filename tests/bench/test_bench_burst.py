"""The bench of bursts: which traces it can be run on, and that each of its laws can be named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.burst import _chosen
from bench.ramp import OBJECTIVE, PROFILE, load_engine, setup
from bench.support.burst_laws import burst_laws
from bench.support.ramp_laws import RAMP
from bench.support.recorded_bursts import AZURE


def test_a_trace_without_two_halves_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended with a traceback of a mean of nothing."""
    rows = "".join(f"2023-11-16 10:{minute:02}:00.0000000,100,10\n" for minute in range(10))
    path = tmp_path / AZURE
    path.parent.mkdir()
    path.write_bytes(gzip.compress(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}".encode()))
    assert main(["burst", "--data", str(tmp_path), "--mixes", "azure", "--seeds", "1"]) == 1
    assert "it has no requests in both halves of an hour" in capsys.readouterr().err


def test_every_law_can_be_named_in_a_list() -> None:
    engine = load_engine(PROFILE)
    known = list(burst_laws(engine, setup(engine), OBJECTIVE, RAMP))
    for name in known:
        assert _chosen(f"static,{name}", known, "--laws", ",") == [n for n in known if n in ("static", name)]
