"""What one YAML scalar means to kubectl: YAML 1.1 words, Go's number syntax, and the passage through JSON."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from decimal import Decimal
from typing import Any

_WORDS: dict[str, Any] = {
    **{form: True for word in ("y", "yes", "true", "on") for form in (word, word.capitalize(), word.upper())},
    **{form: False for word in ("n", "no", "false", "off") for form in (word, word.capitalize(), word.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + form: math.inf for sign in ("", "+") for form in (".inf", ".Inf", ".INF")},
    **{"-" + form: -math.inf for form in (".inf", ".Inf", ".INF")},
}
_INT = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]([0-7]+)|0([0-7]+)|([1-9][0-9]*|0))")
_BASES = (16, 2, 8, 8, 10)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"
_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "null": "null"}


class ScalarError(ValueError):
    """A scalar that has no meaning here."""


def resolve(tag: str, text: str, *, plain: str) -> Any:
    """The value of a scalar before it goes through JSON: text, bool, int, float or None.

    Args:
        tag: the node's tag; `plain` is the tag of plain scalars, whose text alone decides.
    """
    if tag == plain:
        return _guess(text)
    name = tag.removeprefix(_TAG)
    if name == "binary":
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ScalarError("!!binary needs base64 of UTF-8 text") from None
    if name not in _TYPES:
        return text
    value = _guess(text)
    if name == "float" and type(value) is int:
        return float(value)
    if {"int": int, "float": float, "bool": bool, "null": type(None)}[name] is not type(value):
        raise ScalarError(f"{text!r} is not {_TYPES[name]}, as its tag !!{name} says")
    return value


def _guess(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    digits = text.replace("_", "") if text[0] != "." else text
    if match := _INT.fullmatch(digits):
        base, number = next((base, part) for base, part in zip(_BASES, match.groups()[1:], strict=True) if part is not None)
        value = int(number, base) * (-1 if match[1] == "-" else 1)
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.fullmatch(digits) and not math.isinf(number := float(digits)):
        return number
    return text


def normal(value: Any) -> Any:
    """A value as it is after kubectl wrote it to JSON and read it again: whole numbers that fit 64 bits are int, all others float.

    Raises:
        ScalarError: infinity and NaN, which JSON does not have.
    """
    if isinstance(value, dict):
        return {key: normal(child) for key, child in value.items()}
    if isinstance(value, list):
        return [normal(child) for child in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else float(value)
    if not math.isfinite(value):
        raise ScalarError(f"{value} is not a number that JSON can hold; write one, or put quotes around it if text was meant")
    if value.is_integer() and abs(value) < 1e21 and -(2**63) <= (whole := int(Decimal(repr(value)))) < 2**63:
        return whole
    return value


def as_key(value: Any) -> str:
    """A mapping's key as text, as kubectl writes it.

    Raises:
        ScalarError: null, or a number beyond 64 bits.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_float32(value)
    if value is None or (isinstance(value, int) and value >= 2**63):
        raise ScalarError(f"{'null' if value is None else value} cannot be a key; put quotes around it")
    return str(value)


def _go_float32(value: float) -> str:
    """Go's shortest text of a 32-bit float: what kubectl makes of a key such as 1.5 or 50e6."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    try:
        single = struct.pack("f", value)
    except OverflowError:
        raise ScalarError(f"{value} cannot be a key; put quotes around it") from None
    rounded = struct.unpack("f", single)[0]
    shortest = next(text for text in (f"{rounded:.{p}e}" for p in range(9)) if struct.pack("f", float(text)) == single)
    mantissa, _, exponent = shortest.partition("e")
    return f"{Decimal(shortest):f}" if -4 <= int(exponent) < 6 else f"{mantissa}e{int(exponent):+03d}"
