"""Documents, lists, JSON and folders, found as kubectl finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.yaml import ReadError, read_dir, read_text

HEAD = "apiVersion: v1\nkind: Thing\nmetadata: {name: x}\n"


def refusal(text: str) -> str:
    with pytest.raises(ReadError) as error:
        read_text(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (HEAD + "---\n" + HEAD, [1, 5]),
        ("---\n" + HEAD, [2]),
        ("# hi\n---\n---\n# only\n---\n\n" + HEAD + "---\n", [7]),
        (HEAD + "--- # comment\n" + HEAD, [1, 5]),
        (HEAD + "...\n" + HEAD, [1]),
        ((HEAD + "---\n" + HEAD).replace("\n", "\r\n"), [1, 5]),
        ("\ufeff" + HEAD, [1]),
        ("# nothing\n", []),
        ("", []),
        ('{"apiVersion":"v1","kind":"T"}{"apiVersion":"v1","kind":"T"}\n{"apiVersion":"v1","kind":"T"}', [1, 1, 2]),
        ('{"apiVersion":"v1","kind":"T"}\n---\n' + HEAD, [1, 3]),
        (HEAD + '---\n{"apiVersion":"v1","kind":"T"}\n', [1, 5]),
        ("{apiVersion: v1, kind: T, spec: {a: yes,}}", [1]),
        ('{"apiVersion":"v1","kind":"T" # a comment makes it YAML\n}', [1]),
    ],
)
def test_documents_are_found_as_kubectl_finds_them(text: str, lines: list[int]) -> None:
    assert [line for line, _ in read_text(text)] == lines


def test_json_numbers_and_escapes() -> None:
    [(_, obj)] = read_text('{"apiVersion":"v1","kind":"T","spec":{"a":1.0,"b":1e3,"c":1.50,"d":"\\ud83d\\ude00","e":-0}}')
    assert obj["spec"] == {"a": 1, "b": 1000, "c": 1.5, "d": "😀", "e": 0}
    assert type(obj["spec"]["a"]) is int


@pytest.mark.parametrize("kind", ["List", "ThingList"])
def test_a_list_gives_its_items(kind: str) -> None:
    item = HEAD.replace("\n", "\n  ").strip()
    objects = read_text(f"apiVersion: v1\nkind: {kind}\nitems:\n- {item}\n- {item}\n")
    assert [obj["kind"] for _, obj in objects] == ["Thing", "Thing"]
    assert read_text(f"apiVersion: v1\nkind: {kind}\nitems:\n") == []


def test_items_of_a_typed_list_inherit_their_kind() -> None:
    [(_, obj)] = read_text("apiVersion: v1\nkind: ThingList\nitems: [{metadata: {name: x}}]\n")
    assert (obj["apiVersion"], obj["kind"]) == ("v1", "Thing")


def test_aliases_that_multiply_are_refused() -> None:
    """Nine levels of nine aliases each would be 387 million values."""
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "too many values" in refusal(f"{HEAD}l0: &l0 [x]\n{levels}")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "- " * 200_000,
        '{"a":' * 200_000,
        '{"a":' * 300 + "1" + "}" * 300,
        "a: {" * 300 + "}" * 300,
        "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}]\n" for n in range(1, 2000)),
    ],
    ids=["flow", "block", "JSON that does not end", "JSON", "mappings", "aliases"],
)
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    """libyaml's composer ended the process: a segmentation fault."""
    assert "values are nested deeper than 100 levels" in refusal(text)


def test_a_hundred_levels_are_read() -> None:
    for text in ("a: " + "[" * 98 + "]" * 98, '{"a": ' + "[" * 98 + "]" * 98 + "}"):
        [(_, obj)] = read_text('{"apiVersion": "v1", "kind": "A", "spec": ' + text[6:] if text.startswith("{") else HEAD + text)
        assert obj["kind"]


def test_a_folder_is_read_in_order_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.yaml").write_text(HEAD + "---\n" + HEAD)
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "A"}')
    (tmp_path / "sub" / "c.yml").write_text(HEAD)
    (tmp_path / "notes.txt").write_text("not read")
    found = [(str(file.relative_to(tmp_path)), line) for file, line, _ in read_dir(tmp_path)]
    assert found == [("a.json", 1), ("b.yaml", 1), ("b.yaml", 5), ("sub/c.yml", 1)]
    assert [obj["kind"] for _, _, obj in read_dir(tmp_path / "a.json")] == ["A"]


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(HEAD.encode() + b"spec: {a: \xff}\n")
    with pytest.raises(ReadError, match=r"bad\.yaml:4: not UTF-8 text"):
        read_dir(tmp_path)
    with pytest.raises(ReadError, match=r"nowhere: no such file or folder"):
        read_dir(tmp_path / "nowhere")


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(plain_json)
def test_json_is_read_back_as_it_was_written(value: Any) -> None:
    [(_, obj)] = read_text(json.dumps({"apiVersion": "v1", "kind": "T", "spec": value}))
    assert obj["spec"] == value


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        read_text(text)
    except ReadError as error:
        assert str(error).startswith("<input>:")
