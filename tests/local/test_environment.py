"""Variables, command lines and mount paths, as the kubelet makes them."""

from __future__ import annotations

import base64
import doctest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local.builders import a_pod

from forebay.adapters.cluster import CONFIG_MAPS, Kind
from forebay.local import environment, paths
from forebay.local.environment import ConfigError, Place, command_line, expand, variables
from forebay.local.paths import mounts_of, rewrite

PLACE = Place("10.244.0.7", "10.244.0.1")
POD = a_pod("p", labels={"app": "m"}, spec={"nodeName": "n1"})


def lookup(kind: Kind, namespace: str, name: str) -> Any:
    assert namespace == "default"
    if name != "there":
        return None
    return {"data": {"A": "plain"}} if kind == CONFIG_MAPS else {"data": {"A": base64.b64encode(b"hidden").decode()}}


def values(*env: Any, **container: Any) -> dict[str, str]:
    return variables({"name": "c", "env": list(env), **container}, POD, PLACE, lookup)


def source(**value: Any) -> Any:
    return {"name": "X", "valueFrom": value}


def test_examples() -> None:
    for module in (environment, paths):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "default"),
        ("metadata.labels['app']", "m"),
        ("spec.nodeName", "n1"),
        ("status.podIP", "10.244.0.7"),
        ("status.hostIP", "10.244.0.1"),
    ],
)
def test_downward_fields(path: str, value: str) -> None:
    assert values(source(fieldRef={"fieldPath": path}))["X"] == value


def test_references() -> None:
    assert values(source(configMapKeyRef={"name": "there", "key": "A"}))["X"] == "plain"
    assert values(source(secretKeyRef={"name": "there", "key": "A"}))["X"] == "hidden"
    assert values(envFrom=[{"prefix": "P_", "configMapRef": {"name": "there"}}]) == {"P_A": "plain"}
    assert values(source(secretKeyRef={"name": "gone", "key": "A", "optional": True})) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"fieldRef": {"fieldPath": "spec.magic"}}, "spec.magic"),
        ({"secretKeyRef": {"name": "gone", "key": "A"}}, "Secret default/gone is not there"),
        ({"configMapKeyRef": {"name": "there", "key": "B"}}, "no key B"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "resourceFieldRef"),
    ],
)
def test_what_cannot_be_had_says_so(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        values(source(**value))


def test_variables_refer_to_those_before_them() -> None:
    env = values({"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}, {"name": "C", "value": "<$(B)> $$(B) $(none)"})
    assert env == {"A": "$(B)", "B": "b", "C": "<b> $(B) $(none)"}


@given(st.text(alphabet="ab{}[] /=-$"))
def test_text_without_references_stays(text: str) -> None:
    assert expand(text.replace("$", ""), {"a": "1"}) == text.replace("$", "")


def test_the_entrypoint_of_an_image_and_a_command_of_ones_own() -> None:
    def images(name: str) -> list[str] | None:
        return ["forebay"] if name.startswith("forebay") else None

    assert command_line({"image": "forebay:1", "args": ["sidecar", "$(A)"]}, {"A": "1"}, images) == ["forebay", "sidecar", "1"]
    assert command_line({"image": "forebay:1", "command": ["x"]}, {}, images) == ["x"]
    with pytest.raises(ConfigError, match="'other' is not known") as refused:
        command_line({"image": "other"}, {}, images)
    assert refused.value.reason == "ErrImagePull"


def test_mount_paths_are_replaced_by_real_ones(tmp_path: Path) -> None:
    container = {
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app"},
            {"name": "acme", "mountPath": "/keys/policy/acme"},
            {"name": "globex", "mountPath": "/keys/policy/globex/"},
            {"name": "config", "mountPath": "/one.json", "subPath": "sub/one.json"},
        ]
    }
    volumes = {name: tmp_path / name for name in ("config", "acme", "globex")}
    mounts = mounts_of(container, volumes, tmp_path / "above")
    assert rewrite("--config=/etc/app/x.json", mounts) == f"--config={tmp_path}/config/x.json"
    assert rewrite("/etc/apple /etc http://h/etc/app /x/keys/policy", mounts) == "/etc/apple /etc http://h/etc/app /x/keys/policy"
    assert rewrite("/one.json", mounts) == f"{tmp_path}/config/sub/one.json"
    assert rewrite("/keys/policy/globex/k", mounts) == f"{tmp_path}/globex/k"
    volumes["acme"].mkdir()
    (volumes["acme"] / "k").write_text("secret")
    mounts.link()
    mounts.link()
    keys = Path(rewrite("/keys/policy", mounts))
    assert sorted(entry.name for entry in keys.iterdir()) == ["acme", "globex"]
    assert (keys / "acme" / "k").read_text() == "secret"


def test_a_folder_of_all_tenants_keys(tmp_path: Path) -> None:
    """`--keys /etc/forebay/keys` with one mount per policy and tenant below it."""
    container = {"volumeMounts": [{"name": "k", "mountPath": "/etc/forebay/keys/support/acme"}]}
    mounts = mounts_of(container, {"k": tmp_path / "k"}, tmp_path / "above")
    mounts.link()
    assert (Path(rewrite("/etc/forebay/keys", mounts)) / "support" / "acme").is_symlink()
    assert rewrite("/etc/forebay/other", mounts) == "/etc/forebay/other"
