"""Configuration documents: refused whole, kept, and followed through the way a ConfigMap changes."""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from forebay.api.canonical import sealed
from forebay.dataplane.config import At, ConfigError, Watched, load


def parse(document: Mapping[str, Any]) -> str:
    return At(document).at("pool").text("name")


def a_document(**fields: Any) -> str:
    return json.dumps(sealed({"schemaVersion": 1, "pool": {"name": "llama"}, "weight": 0.1, "text": "für dich", **fields}))


REFUSED = {
    "not json": ("{", "not JSON"),
    "not an object": ("[]", "must be a JSON object"),
    "another version": (a_document(schemaVersion=2), "schemaVersion is 2, this version reads 1"),
    "changed by hand": (a_document().replace("llama", "lama"), "changed after it was compiled"),
    "no hash": (json.dumps({"schemaVersion": 1, "pool": {"name": "llama"}}), "hash is None"),
    "a field of another type": (a_document(pool={"name": 3}), r"pool\.name: must be a text"),
    "a field that is missing": (a_document(pool=None), "pool: must be an object"),
    "nested too deeply": ('{"schemaVersion": 1, "hash": "", "x": ' + '{"x":' * 1000 + "1" + "}" * 1001, "nested too deeply"),
    "far too long": (" " * 5_000_000, "longer than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_a_whole_and_it_says_why(name: str, tmp_path: Path) -> None:
    raw, why = REFUSED[name]
    (tmp_path / "c.json").write_text(raw)
    with pytest.raises(ConfigError, match=why):
        load(tmp_path / "c.json", parse)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "c.json", parse)


def test_the_last_good_one_stays_and_a_refusal_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.json"
    watched = Watched(path, parse)
    with caplog.at_level(logging.ERROR):
        assert not watched.check() and not watched.check()
        assert len(caplog.records) == 1
        path.write_text(a_document())
        assert watched.check() and not watched.check()
        good = watched.current
        assert good is not None and good.data == "llama"
        path.write_text("{")
        assert not watched.check() and not watched.check()
        assert len(caplog.records) == 2
        assert watched.current is good and "not JSON" in watched.refused
        path.unlink()
        assert not watched.check() and watched.current is good
        path.write_text(a_document(pool={"name": "other"}))
        assert watched.check() and watched.current.data == "other" and not watched.refused


def test_a_change_that_came_while_no_file_could_be_opened_is_not_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process that has as many files open as it may cannot read the new document; the document does not change a second time."""
    path = tmp_path / "c.json"
    path.write_text(a_document())
    watched = Watched(path, parse)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(path, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with caplog.at_level(logging.ERROR):
            assert not watched.check() and not watched.check()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in watched.refused and len(caplog.records) == 1
    assert watched.check() and watched.current is not None


def test_a_configmap_that_is_swapped_is_seen(tmp_path: Path) -> None:
    """The kubelet writes a new folder and moves the link `..data` to it; the path that is read never changes itself."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.json").write_text(a_document(pool={"name": name}))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "c.json").symlink_to("..data/c.json")
    watched = Watched(tmp_path / "c.json", parse)
    assert watched.check() and watched.current is not None and watched.current.data == "one"
    (tmp_path / "..data_tmp").symlink_to("two")
    os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
    assert watched.check() and watched.current.data == "two"
