"""Reads YAML and JSON as kubectl does, so that a file means the same here and in a cluster.

kubectl resolves scalars as YAML 1.1 with Go's number syntax (`on` is true, `50e6` and `0o17` are numbers, `1:30` and dates are text)
and then goes through JSON (`1.0` becomes 1). PyYAML does neither, so only its scanner and parser are used; the rest is here, checked
against kubectl itself in tests/api/test_yaml.py. One thing is stricter on purpose: a key that stands twice is an error, where kubectl
silently keeps the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from forebay.api.yaml_scalars import ScalarError, as_key, normal, resolve

_Loader: type[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_PLAIN = "!plain"
_MAX_NODES = 1_000_000
_MAX_DEPTH = 100
_TOO_DEEP = f"values are nested deeper than {_MAX_DEPTH} levels"
_SUFFIXES = frozenset((".yaml", ".yml", ".json"))


class ReadError(ValueError):
    """A file that cannot be read; the message names the file and line and says what is wrong."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.file, self.line, self.message = file, line, message


class _PlainLoader(_Loader):  # type: ignore[misc]
    """Composes nodes and marks plain scalars, which are the only ones whose text decides their type."""


_PlainLoader.add_implicit_resolver(_PLAIN, re.compile(""), None)


def read_dir(path: str | Path) -> list[tuple[Path, int, dict[str, Any]]]:
    """All objects of a file or a folder's *.yaml, *.yml and *.json, subfolders included, in order of their paths.

    Returns: (file, line where the object begins, object).
    Raises:
        ReadError: the first thing that cannot be read.
    """
    root = Path(path)
    if root.is_file():
        files = [root]
    elif root.is_dir():
        files = sorted(file for file in root.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    else:
        raise ReadError(str(root), 0, "no such file or folder")
    return [(file, line, obj) for file in files for line, obj in read_text(_text(file), str(file))]


def read_text(text: str, file: str = "<input>") -> list[tuple[int, dict[str, Any]]]:
    """The Kubernetes objects of a text with any number of documents; a `List` gives its items.

    Returns: (line where the object, or the list that holds it, begins, object).
    Raises:
        ReadError: the first thing that is wrong.
    """
    return [
        item for line, value in _documents(text.removeprefix("\ufeff"), file) if value is not None for item in _objects(line, value, file)
    ]


def read_value(text: str, file: str = "<input>") -> Any:
    """What the one document of a text holds that is no Kubernetes object; None where there is none.

    Raises:
        ReadError: it cannot be read, or there are several documents.
    """
    documents = [(line, value) for line, value in _documents(text, file) if value is not None]
    if len(documents) > 1:
        raise ReadError(file, documents[1][0], "one document is expected, here begins another")
    return documents[0][1] if documents else None


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ReadError(str(file), file.read_bytes()[: error.start].count(b"\n") + 1, "not UTF-8 text") from None
    except OSError as error:
        raise ReadError(str(file), 0, error.strerror or str(error)) from None


def _objects(line: int, value: Any, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The object itself, or the items of a list, as `kubectl -f` takes them."""
    if not isinstance(value, dict):
        raise ReadError(file, line, f"a Kubernetes object is a mapping with apiVersion, kind, metadata and spec, not {_name(value)}")
    items = value.get("items")
    if isinstance(items, list) or ("items" in value and str(value.get("kind", "")).endswith("List")):
        kind = str(value.get("kind", "")).removesuffix("List")
        for item in items or []:
            inherited = {"apiVersion": value.get("apiVersion"), "kind": kind} if kind and isinstance(item, dict) else {}
            if isinstance(item, dict) and "items" in item:
                raise ReadError(file, line, "a list inside a list: put its items into the outer one")
            yield from _objects(line, {**inherited, **item} if inherited else item, file)
        return
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str) or not value[field]:
            raise ReadError(file, line, f"{field} is missing, or is not text")
    _check_metadata(line, value.get("metadata"), file)
    yield line, value


def _check_metadata(line: int, metadata: Any, file: str) -> None:
    """Names, labels and annotations are text; YAML makes numbers and booleans of some."""
    if not isinstance(metadata, dict | None):
        raise ReadError(file, line, f"metadata is a mapping, not {_name(metadata)}")
    fields = {f"metadata.{name}": value for name, value in (metadata or {}).items() if name in ("name", "generateName", "namespace")}
    for group in ("labels", "annotations"):
        entries = (metadata or {}).get(group)
        if not isinstance(entries, dict | None):
            raise ReadError(file, line, f"metadata.{group} is a mapping, not {_name(entries)}")
        fields |= {f"metadata.{group}.{name}": value for name, value in (entries or {}).items()}
    for field, value in fields.items():
        if not isinstance(value, str | None):
            raise ReadError(file, line, f"{field} must be text: put quotes around {json.dumps(value)}")


def _name(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"the plain value {value!r}"


def _documents(text: str, file: str) -> Iterator[tuple[int, Any]]:
    """(first line, value) of every document."""
    rest, line = text, 1
    if text.lstrip().startswith("{"):
        values, rest, line = _json_stream(text, file)
        yield from values
    for first, chunk in _chunks(rest, line, file):
        yield _load(chunk, first, file)


def _json_stream(text: str, file: str) -> tuple[list[tuple[int, Any]], str, int]:
    """JSON values one after another, and what follows them with its line: flow-style YAML begins with a brace too."""
    found: list[tuple[int, Any]] = []
    at = 0
    while True:
        start = at + len(text[at:]) - len(text[at:].lstrip())
        line = text.count("\n", 0, start) + 1
        if not text.startswith("{", start):
            return found, text[start:], line
        try:
            value, at = _json_decoder(line, file).raw_decode(text, start)
        except json.JSONDecodeError:
            return found, text[start:], line
        except RecursionError:
            raise ReadError(file, line, _TOO_DEEP) from None
        _check_depth(value, line, file)
        found.append((line, _attempt(normal, value, line=line, file=file)))


def _check_depth(value: Any, line: int, file: str) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for one in level if isinstance(one, dict | list) for child in (one.values() if isinstance(one, dict) else one)]
    if any(isinstance(one, dict | list) for one in level):
        raise ReadError(file, line, _TOO_DEEP)


def _json_decoder(line: int, file: str) -> json.JSONDecoder:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            twice = next(key for index, (key, _) in enumerate(items) if key in {k for k, _ in items[:index]})
            raise ReadError(file, line, f"key {twice!r} stands twice in the same object")
        return result

    def no_constant(name: str) -> Any:
        raise json.JSONDecodeError(name, name, 0)

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=no_constant)


def _chunks(text: str, line: int, file: str) -> Iterator[tuple[int, str]]:
    """(first line, text) between lines that begin with `---`; kubectl cuts there before YAML is parsed."""
    first, lines = line, list[str]()
    for number, one in enumerate(text.split("\n"), line):
        if not one.startswith("---"):
            lines.append(one)
            continue
        trailing = one[3:].strip()
        if trailing and not trailing.startswith("#"):
            raise ReadError(file, number, f"a document separator is --- alone on its line, not {one.strip()!r}")
        yield first, "\n".join(lines)
        first, lines = number + 1, []
    yield first, "\n".join(lines)


def _load(chunk: str, first: int, file: str) -> tuple[int, Any]:
    try:
        _check_nesting(chunk, first, file)
        loader = _PlainLoader(chunk)
        try:
            node = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ReadError(file, first + (mark.line if mark else 0), str(error.problem or error.context)) from None
    except yaml.YAMLError as error:
        raise ReadError(file, first, " ".join(str(error).split())) from None
    if node is None:
        return first, None
    return first + node.start_mark.line, _Builder(first, file).value(node)


def _check_nesting(chunk: str, first: int, file: str) -> None:
    """Looks at the events first: libyaml's composer calls itself for every level, and ends the process where they are many."""
    loader, depth = _PlainLoader(chunk), 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.DocumentEndEvent):
                return
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise ReadError(file, first + event.start_mark.line, _TOO_DEEP)
    finally:
        loader.dispose()


def _attempt(convert: Callable[..., Any], *args: Any, line: int, file: str) -> Any:
    try:
        return convert(*args)
    except ScalarError as error:
        raise ReadError(file, line, str(error)) from None


class _Builder:
    """Turns a graph of nodes into plain values; every alias becomes a copy, within bounds."""

    def __init__(self, first: int, file: str) -> None:
        self.first, self.file = first, file
        self.open: set[int] = set()
        self.count = 0

    def fail(self, node: yaml.Node, message: str) -> ReadError:
        return ReadError(self.file, self.first + node.start_mark.line, message)

    def value(self, node: yaml.Node) -> Any:
        self.count += 1
        if self.count > _MAX_NODES:
            raise self.fail(node, f"too many values: more than {_MAX_NODES:,} with what aliases repeat")
        if len(self.open) > _MAX_DEPTH:
            raise self.fail(node, _TOO_DEEP)
        if id(node) in self.open:
            raise self.fail(node, "an anchor's value contains itself")
        if isinstance(node, yaml.ScalarNode):
            return _attempt(
                lambda: normal(resolve(node.tag, node.value, plain=_PLAIN)), line=self.first + node.start_mark.line, file=self.file
            )
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child) for child in node.value]
            return self.mapping(node)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        """Keys become text. A merge (`<<`) overrides what stands before it, as in kubectl."""
        result: dict[str, Any] = {}
        written: set[str] = set()
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<" and key_node.tag == _PLAIN:
                result.update(self.merged(value_node))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail(key_node, "a key must be a plain value, not a list or a mapping")
            line = self.first + key_node.start_mark.line
            key = _attempt(lambda node=key_node: as_key(resolve(node.tag, node.value, plain=_PLAIN)), line=line, file=self.file)
            if key in written:
                raise self.fail(key_node, f"key {key!r} stands twice in the same mapping")
            written.add(key)
            result[key] = self.value(value_node)
        return result

    def merged(self, node: yaml.Node) -> dict[str, Any]:
        sources = list(reversed(node.value)) if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(source, yaml.MappingNode) for source in sources):
            raise self.fail(node, "<< takes a mapping or a list of mappings")
        return {key: value for source in sources for key, value in self.value(source).items()}
