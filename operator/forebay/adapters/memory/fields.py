"""Which fields an object has, and how two objects become one: the arithmetic under server-side apply.

A field is a path of names, with items of merged lists named by their keys. A set of such paths is what a field manager owns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from forebay.adapters.memory.shapes import FieldNames, Shape

Step = str | tuple[Any, ...]
"""A field's name, or a list item: ("k", ((key, value), …)) in a map list, ("v", value) in a set."""

Path = tuple[Step, ...]
Fields = frozenset[Path]
ShapeOf = Callable[[FieldNames, bool], Shape]
"""Shape of the value at a path of names, which is a list or not."""


def fields_of(value: Any, shape_of: ShapeOf) -> Fields:
    """Every field that a value sets; empty maps and lists count as a field of their own."""
    return frozenset(_walk(value, shape_of, (), ()))


def _walk(value: Any, shape_of: ShapeOf, path: Path, names: FieldNames) -> Iterator[Path]:
    shape = shape_of(names, isinstance(value, list)) if isinstance(value, dict | list) and value else None
    if isinstance(value, dict) and shape and shape.merge == "fields":
        for name, child in value.items():
            yield from _walk(child, shape_of, (*path, name), (*names, name))
    elif isinstance(value, list) and shape and shape.merge in ("keys", "set"):
        for item in value:
            step = step_of(item, shape)
            yield (*path, step)
            if isinstance(item, dict):
                yield from _walk(item, shape_of, (*path, step), names) if shape.merge == "keys" else ()
    elif path:
        yield path


def step_of(item: Any, shape: Shape) -> Step:
    """How an item of a merged list is named."""
    if shape.merge == "set" or not isinstance(item, dict):
        return ("v", _hashable(item))
    defaults = dict(shape.defaults)
    return ("k", tuple((key, _hashable(item.get(key, defaults.get(key)))) for key in shape.keys))


def _hashable(value: Any) -> Any:
    """Keys are plain values; whatever else stands there is refused by validation later, and must only not break before."""
    return repr(value) if isinstance(value, dict | list) else value


def prefixes(fields: Iterable[Path]) -> set[Path]:
    """Every path that leads to one of the fields, without the fields themselves unless one leads on to another."""
    return {path[:length] for path in fields for length in range(len(path))}


def at(value: Any, path: Path, shape_of: ShapeOf) -> tuple[bool, Any]:
    """(whether the path exists, the value there)."""
    names: FieldNames = ()
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return False, None
            value, names = value[step], (*names, step)
        else:
            shape = shape_of(names, True)
            found = [item for item in value if step_of(item, shape) == step] if isinstance(value, list) else []
            if not found:
                return False, None
            value = found[0]
    return True, value


def merge(live: Any, applied: Any, shape_of: ShapeOf, names: FieldNames = ()) -> Any:
    """What `applied` makes of `live`; what it does not mention stays."""
    if isinstance(live, dict) and isinstance(applied, dict) and shape_of(names, False).merge == "fields":
        merged = {name: merge(live.get(name), child, shape_of, (*names, name)) for name, child in applied.items()}
        return {**live, **merged}
    if isinstance(live, list) and isinstance(applied, list):
        shape = shape_of(names, True)
        if shape.merge in ("keys", "set"):
            return _merge_lists(live, applied, shape, shape_of, names)
    return applied


def _merge_lists(live: list[Any], applied: list[Any], shape: Shape, shape_of: ShapeOf, names: FieldNames) -> list[Any]:
    """Applied items in their order; live ones that are not applied keep their place, which is before what is new there."""
    by_step = {step_of(item, shape): item for item in live}
    wanted = {step_of(item, shape) for item in applied}
    rest = deque((step_of(item, shape), item) for item in live)
    result: list[Any] = []
    for item in applied:
        while rest and rest[0][0] not in wanted:
            result.append(rest.popleft()[1])
        step = step_of(item, shape)
        if step in by_step:
            result.append(merge(by_step[step], item, shape_of, names))
            rest.popleft()
        else:
            result.append(item)
    return result + [other for step, other in rest if step not in wanted]


def without(value: Any, gone: Fields, shape_of: ShapeOf) -> Any:
    """The value without these fields; maps and lists that become empty by it go too."""
    return _without(value, gone, prefixes(gone), shape_of, (), ())


def _without(value: Any, gone: Fields, leading: set[Path], shape_of: ShapeOf, path: Path, names: FieldNames) -> Any:
    if path not in leading:
        return value
    if isinstance(value, dict):
        kept = {
            name: _without(old, gone, leading, shape_of, (*path, name), (*names, name))
            for name, old in value.items()
            if (*path, name) not in gone
        }
        kept = {name: child for name, child in kept.items() if child is not None or value[name] is None}
        return kept if kept or not path else None
    if isinstance(value, list) and (shape := shape_of(names, True)).merge in ("keys", "set"):
        steps = [((*path, step_of(item, shape)), item) for item in value]
        items = [_without(item, gone, leading, shape_of, step, names) for step, item in steps if step not in gone]
        return [item for item in items if item is not None] or None
    return value


def text_of(path: Path) -> str:
    """A field as conflict messages name it: `.spec.template.spec.containers[name="server"].image`."""
    return "".join(f".{step}" if isinstance(step, str) else f"[{_item_text(step)}]" for step in path)


def _item_text(step: tuple[Any, ...]) -> str:
    if step[0] == "v":
        return f'="{step[1]}"'
    return ",".join(f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in step[1])
