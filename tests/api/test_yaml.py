"""Reading YAML as kubectl does. Every expected value below is what `kubectl patch --local -o json` v1.37 made of the same text."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api.yaml import ReadError, read_text

HEAD = "apiVersion: v1\nkind: Thing\nmetadata: {name: x}\n"


def spec_of(text: str) -> Any:
    [(_, obj)] = read_text(HEAD + text)
    return obj["spec"]


def refusal(text: str) -> str:
    with pytest.raises(ReadError) as error:
        read_text(text)
    return str(error.value)


BOOLEANS = {
    **dict.fromkeys(["yes", "Yes", "YES", "y", "Y", "on", "On", "ON", "true", "True", "TRUE"], True),
    **dict.fromkeys(["no", "No", "NO", "n", "N", "off", "Off", "OFF", "false", "False", "FALSE"], False),
    **{word: word for word in ["yEs", "tRue", "t", "f", "T", "oN", "Oui"]},
}
NULLS = {"null": None, "Null": None, "NULL": None, "~": None, "nUll": "nUll", "# nothing": None}
NUMBERS: dict[str, Any] = {
    "50e6": 50000000,
    "1e3": 1000,
    "1E3": 1000,
    "1.5e3": 1500,
    "1e-3": 0.001,
    "+1e+3": 1000,
    "1.0": 1,
    "1.": 1,
    "1.10": 1.1,
    ".5": 0.5,
    "-.5e1": -5,
    "1e400": "1e400",
    "1e-400": 0,
    "1e18": 1000000000000000000,
    "5e20": 5e20,
    "9223372036854775807": 9223372036854775807,
    "9223372036854775808": 9223372036854775808.0,
    "-9223372036854775809": -9223372036854775808.0,
    "18446744073709551616": 18446744073709551616.0,
    "1.23456789012345678e17": 123456789012345680,
    "0o17": 15,
    "017": 15,
    "-017": -15,
    "08": 8,
    "09.5": 9.5,
    "0x1F": 31,
    "-0X1f": -31,
    "0b11": 3,
    "-0B11": -3,
    "0b12": "0b12",
    "0o8": "0o8",
    "0x": "0x",
    "0x1p4": "0x1p4",
    "1_000": 1000,
    "1__0_": 10,
    "_1": "_1",
    "1_000.5": 1000.5,
    "+12": 12,
    "+": "+",
    "-0": 0,
    "-0.0": 0,
    "inf": "inf",
    "NaN": "NaN",
    ".iNf": ".iNf",
}
TEXTS: dict[str, Any] = {
    text: text
    for text in (
        [
            "2001-01-01",
            "2001-01-01T10:00:00Z",
            "12:30",
            "12:30:45",
            "190:20:30",
            "1.2.3",
            "10.0.0.1",
            "1d",
            "1e",
            "1e+",
            "e5",
            ".",
            "..",
            ".1.2",
            "1,000",
            "=",
            "5m",
            "250ms",
            "1Ki",
            "a:b",
            "a#b",
            "1:2",
        ]
    )
}
TAGGED: dict[str, Any] = {
    "'50e6'": "50e6",
    '"yes"': "yes",
    "!!str 5": "5",
    "!!str": "",
    "!!str ~": "~",
    '!!int "5"': 5,
    "!!int 0o17": 15,
    "!!float 5": 5,
    '!!bool "yes"': True,
    '!!null ""': None,
    "!!binary aGk=": "hi",
    "!!timestamp 2001-01-01": "2001-01-01",
    "!foo 5": "5",
    "!!foo 5": "5",
    "!!python/object:os.system x": "x",
    "!!set {a, b}": {"a": None, "b": None},
    "!!omap [a: 1]": [{"a": 1}],
    "&x 5": 5,
    "[a: 1, b]": [{"a": 1}, "b"],
    '"\\x41\\u00e9"': "Aé",
    "'it''s'": "it's",
    "|\n    a\n    b": "a\nb\n",
    ">-\n    a\n    b": "a b",
}


@pytest.mark.parametrize(("text", "expected"), list({**BOOLEANS, **NULLS, **NUMBERS, **TEXTS, **TAGGED}.items()))
def test_a_value_is_what_kubectl_reads(text: str, expected: Any) -> None:
    value = spec_of(f"spec:\n  v: {text}\n")["v"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "spec: {y: 1, 5: 3, 1.5: 4, 50e6: 7, 017: 8, no: 3, .5: 2}",
            {"true": 1, "5": 3, "1.5": 4, "5e+07": 7, "15": 8, "false": 3, "0.5": 2},
        ),
        ("spec: {2001-01-01: 3, 100000.0: 1, 1234567.9: 2, .inf: 5}", {"2001-01-01": 3, "100000": 1, "1.2345679e+06": 2, ".inf": 5}),
        ("x: &x {a: 1, b: 2}\nspec:\n  <<: *x\n  b: 3\n", {"a": 1, "b": 3}),
        ("x: &x {a: 1, b: 2}\nspec:\n  b: 3\n  <<: *x\n", {"a": 1, "b": 2}),
        ("x: &x {a: 1}\nz: &z {a: 5, c: 6}\nspec:\n  <<: [*x, *z]\n", {"a": 1, "c": 6}),
        ("spec:\n  '<<': {a: 1}\n", {"<<": {"a": 1}}),
        ("x: &x {a: [1]}\nspec: *x\n", {"a": [1]}),
        ("spec:\n  a:\t1\t# tabs between are fine\n", {"a": 1}),
        ("spec:\n  a: |\n    x\n    ---\n    y\n", {"a": "x\n---\ny\n"}),
        ("spec:\n  ? a\n  : 1\n", {"a": 1}),
        ("spec: {a: , b: ~}", {"a": None, "b": None}),
        ("spec: {a: 😀}", {"a": "😀"}),
    ],
)
def test_a_mapping_is_what_kubectl_reads(text: str, expected: Any) -> None:
    assert spec_of(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        "-",
        ".inf",
        "-.Inf",
        ".NaN",
        "@x",
        "`x",
        "%x",
        "!!int 5.5",
        "!!int 1e3",
        '!!binary "@@"',
        "!!bool a",
        "[1,2",
        "{a: 1",
        '"open',
        "- 1",
        "a: b",
        "[a, , b]",
        "*x",
        "?",
        '"\\q"',
        "!!float .inf",
        '"\\ud83d\\ude00"',
        "{[a]: 1}",
        "{~: 1}",
        "{18446744073709551615: 1}",
    ],
)
def test_a_value_that_kubectl_refuses_is_refused_with_its_line(value: str) -> None:
    assert refusal(f"{HEAD}spec:\n  v: {value}\n").startswith(("<input>:5: ", "<input>:6: "))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "spec:\n\ta: 1\n", "<input>:5: found character that cannot start any token"),
        (HEAD + "spec:\n  a: 1\n b: 2\n", "<input>:6: did not find expected key"),
        (HEAD + "spec: &a {b: *a}\n", "<input>:4: an anchor's value contains itself"),
        (HEAD + "spec:\n  <<: 5\n", "<input>:5: << takes a mapping or a list of mappings"),
        (HEAD + "---\n%YAML 1.2\n---\n" + HEAD, "<input>:6: did not find expected <document start>"),
        (HEAD + "--- {a: 1}\n", "<input>:4: a document separator is --- alone on its line, not '--- {a: 1}'"),
        (HEAD + 'spec: {a: "x\x01"}', "unacceptable character #x0001"),
        ("- a\n", "<input>:1: a Kubernetes object is a mapping with apiVersion, kind, metadata and spec, not a list"),
        ("hello\n", "not the plain value 'hello'"),
        (HEAD + "---\nkind: Thing\n", "<input>:5: apiVersion is missing, or is not text"),
        ("apiVersion: v1\nkind: 5\n", "<input>:1: kind is missing, or is not text"),
        ("apiVersion: v1\nkind: T\nmetadata: {name: 5}\n", "<input>:1: metadata.name must be text: put quotes around 5"),
        ("apiVersion: v1\nkind: T\nmetadata: {name: x, labels: {a: on}}\n", "metadata.labels.a must be text: put quotes around true"),
        ("apiVersion: v1\nkind: T\nmetadata: [x]\n", "<input>:1: metadata is a mapping, not a list"),
        ("apiVersion: v1\nkind: List\nitems: [1]\n", "not the plain value 1"),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: []}]\n", "a list inside a list"),
        ('{"apiVersion": "v1", "kind": "T", "spec": {"a": 1e400}}', "<input>:1: inf is not a number"),
    ],
)
def test_a_refusal_says_what_and_where(text: str, message: str) -> None:
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (HEAD + "spec: {a: 1, a: 2}\n", "a", 4),
        (HEAD + "spec:\n  a: 1\n  b: 1\n  a: 2\n", "a", 7),
        (HEAD + "spec: {}\nspec: {}\n", "spec", 5),
        (HEAD + "spec: {y: 1, 'true': 2}\n", "true", 4),
        (HEAD + "spec: {5: 1, '5': 2}\n", "5", 4),
        ('{"apiVersion": "v1", "kind": "T", "spec": {"a": 1, "a": 2}}', "a", 1),
    ],
)
def test_a_key_that_stands_twice_is_refused_where_kubectl_keeps_the_last(text: str, key: str, line: int) -> None:
    assert refusal(text).startswith(f"<input>:{line}: key '{key}' stands twice in the same")
