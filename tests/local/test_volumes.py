"""Volumes: what they hold, and that an update is seen whole or not at all."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local.builders import a_pod

from forebay.adapters.cluster import CONFIG_MAPS, Kind, Object
from forebay.local.environment import ConfigError, Place
from forebay.local.volumes import contents, write

names = st.text(alphabet="abc", min_size=1, max_size=3)


def lookup(kind: Kind, namespace: str, name: str) -> Object | None:
    data = {"a": "1", "b": "2"} if kind == CONFIG_MAPS else {"a": base64.b64encode(b"hidden").decode()}
    return {"data": data} if (namespace, name) == ("default", "there") else None


async def token(pod: Object, audience: str, life_s: int) -> str:
    return f"{pod['metadata']['name']}/{audience}/{life_s}"


def held(**volume: Any) -> dict[str, bytes] | None:
    pod = a_pod("p", labels={"app": "m", "b": "2"})
    return asyncio.run(contents({"name": "v", **volume}, pod, Place("1.2.3.4", "5.6.7.8"), lookup, token))


def test_kinds_of_volume() -> None:
    assert held(configMap={"name": "there"}) == {"a": b"1", "b": b"2"}
    assert held(configMap={"name": "there", "items": [{"key": "b", "path": "x/y"}]}) == {"x/y": b"2"}
    assert held(secret={"secretName": "there"}) == {"a": b"hidden"}
    assert held(secret={"secretName": "gone", "optional": True}) == {}
    assert held(emptyDir={}) is None
    assert held(downwardAPI={"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}) == {"labels": b'app="m"\nb="2"'}


def test_projected_volume_with_a_token() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "there", "items": [{"key": "a", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    assert held(projected={"sources": sources}) == {"token": b"p//3607", "ca.crt": b"1", "namespace": b"default"}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "gone"}}, "ConfigMap default/gone is not there"),
        ({"secret": {"secretName": "there", "items": [{"key": "z", "path": "z"}]}}, "no key z"),
        ({"configMap": {"name": "there", "items": [{"key": "a", "path": "../../x"}]}}, "leaves the volume"),
        ({"persistentVolumeClaim": {"claimName": "c"}}, "persistentVolumeClaim"),
    ],
)
def test_what_cannot_be_had_says_so(volume: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        held(**volume)


def shown(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("..")}


@given(st.lists(st.dictionaries(names, st.binary(max_size=8), max_size=4), min_size=1, max_size=5))
def test_a_volume_holds_exactly_what_was_written_last(tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, bytes]]) -> None:
    folder = tmp_path_factory.mktemp("volume")
    for number, files in enumerate(versions):
        assert write(folder, files) is (number == 0 or files != versions[number - 1])
        assert shown(folder) == files
    assert len(list(folder.glob("..*"))) == 2


def test_a_reader_of_the_old_files_keeps_them_whole(tmp_path: Path) -> None:
    """Every file changes with one swap of a link: there is no moment with one old and one new file."""
    write(tmp_path, {"a": b"1", "b": b"1"})
    before = (tmp_path / "..data").resolve()
    with (tmp_path / "a").open("rb") as open_file:
        write(tmp_path, {"a": b"2", "b": b"2"})
        assert open_file.read() == b"1"
    assert (tmp_path / "..data").resolve() != before
    assert not before.exists()
    assert (tmp_path / "a").stat().st_mtime == (tmp_path / "..data" / "a").stat().st_mtime
