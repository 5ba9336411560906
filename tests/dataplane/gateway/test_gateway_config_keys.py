"""The two things a gateway reads: its configuration, refused whole when a field is wrong, and keys as Kubernetes mounts them."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.gateway.gateway_documents import a_document, a_policy

from forebay.dataplane.config import ConfigError
from forebay.dataplane.gateway.config import parse
from forebay.dataplane.gateway.keys import Keys

WRONG: list[tuple[str, Any, str]] = [
    ("policies", {}, "policies: must be a list"),
    ("policies.0", [], "policies[0]: must be an object"),
    ("policies.0.name", "", "policies[0].name"),
    ("policies.0.name", "a\r\nb", "policies[0].name"),
    ("policies.0.models", "m", "policies[0].models"),
    ("policies.0.models", [1], "policies[0].models"),
    ("policies.0.defaultClass", 3, "policies[0].defaultClass: must be a text"),
    ("policies.0.retryBudget", "0.1", "policies[0].retryBudget: must be a number"),
    ("policies.0.retryBudget", True, "policies[0].retryBudget: must be a number"),
    ("policies.0.retryBudget", -1, "policies[0].retryBudget: -1 is too small"),
    ("policies.0.timeouts.idleSeconds", 0, "policies[0].timeouts.idleSeconds: 0 is too small"),
    ("policies.0.tenants.0.keys", "../../etc", "policies[0].tenants[0].keys"),
    ("policies.0.tenants.0.keys", "/etc", "policies[0].tenants[0].keys"),
    ("policies.0.rules.0.route.0.pool", "default/unknown", "unknown pool"),
    ("policies.0.rules.0.route.0.weight", None, "policies[0].rules[0].route[0].weight"),
    ("policies.0.rules.0.match", None, "policies[0].rules[0].match"),
    ("policies.0.rules.0.match", {"class": "x"}, "policies[0].rules[0].match.class"),
    ("policies.0.rules.0.cache.exact.mode", "Off", "'Off' is none of Always, Deterministic, Disabled"),
    ("pools.default/chat.task", "Paint", "'Paint' is none of"),
    ("pools.default/chat.classes", ["unknown"], "unknown class"),
    ("pools.default/chat.model", "a\nb", "pools[default/chat].model"),
    ("classes.interactive.tier", "Fast", "'Fast' is none of"),
    ("classes.interactive.maxAttempts", 0, "too small"),
    ("gateway", None, "gateway: must be an object"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{path}={value!r}" for path, value, _ in WRONG])
def test_a_wrong_field_refuses_the_document_and_is_named(path: str, value: Any, message: str) -> None:
    document = deepcopy(a_document())
    at: Any = document
    *parents, last = path.split(".")
    for part in parents:
        at = at[int(part) if part.isdigit() else part]
    at[int(last) if last.isdigit() else last] = value
    with pytest.raises(ConfigError) as caught:
        parse(document)
    assert message in str(caught.value)


def test_two_policies_cannot_claim_one_model() -> None:
    with pytest.raises(ConfigError, match="both claim model 'support-chat'"):
        parse(a_document(a_policy(), a_policy("sales")))


def test_fields_of_a_newer_operator_are_ignored() -> None:
    document = a_document(a_policy(carbon={"prefer": "LowIntensity"}))
    assert parse({**document, "later": 1}).policies[0].name == "support"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["policies", "pools", "classes", "gateway", "hash"]), _json)
def test_any_json_is_taken_or_refused_never_a_crash(field: str, value: Any) -> None:
    try:
        parse({**a_document(), field: value})
    except ConfigError as error:
        assert str(error)


def mount(folder: Path, version: str, keys: dict[str, bytes]) -> None:
    """Writes a Secret as the kubelet does: a folder per version, `..data` swapped to it, a link per key."""
    fresh = folder / f"..{version}"
    fresh.mkdir(parents=True)
    for name, key in keys.items():
        (fresh / name).write_bytes(key)
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(fresh.name)
    os.replace(folder / "..data_tmp", folder / "..data")


def test_keys_follow_a_swapped_secret(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    mount(tmp_path / "support/acme", "v1", {"a": b"first\n", "b": b"second"})
    keys.refresh(["support/acme", "support/none"])
    assert keys.folders_of(b"first") == keys.folders_of(b"second") == {"support/acme"}
    mount(tmp_path / "support/acme", "v2", {"a": b"third\r\n", "b": b"second"})
    keys.refresh(["support/acme"])
    assert keys.folders_of(b"first") is None
    assert keys.folders_of(b"third") == {"support/acme"}


def test_a_folder_that_no_tenant_names_opens_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    for folder in ("a", "b"):
        mount(tmp_path / folder, "v1", {"key": b"same"})
    keys.refresh(["a", "b"])
    assert keys.folders_of(b"same") == {"a", "b"}
    keys.refresh(["b"])
    assert keys.folders_of(b"same") == {"b"}
    keys.refresh([])
    assert keys.folders_of(b"same") is None


def test_files_that_hold_no_key_open_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, content in {"empty": b"", "newline": b"\n", "huge": b"k" * 5000, ".hidden": b"hidden"}.items():
        (tmp_path / "a" / name).write_bytes(content)
    (tmp_path / "a" / "folder").mkdir()
    (tmp_path / "a" / "dangling").symlink_to("nowhere")
    keys = Keys(tmp_path)
    keys.refresh(["a"])
    for token in (b"", b"\n", b"k" * 5000, b"hidden"):
        assert keys.folders_of(token) is None


def test_keys_themselves_do_not_stay_in_memory(tmp_path: Path) -> None:
    mount(tmp_path / "a", "v1", {"key": b"very-secret"})
    keys = Keys(tmp_path)
    keys.refresh(["a"])
    assert b"very-secret" not in repr(vars(keys)).encode()
