"""How numbers are kept: doubles and floats as they are, loads as 16-bit logarithms.

A load of up to 1e12 is kept within 0.03 % of it and a thousandth together, in two bytes instead of
eight, so that weeks of history fit beside a pool.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence
from math import expm1, log1p
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer

MISSING = 0xFFFF
MAX_VALUE = 1e12
_FINEST = 1000.0
_PER_CODE = log1p(MAX_VALUE * _FINEST) / (MISSING - 1)


def code_of(value: float) -> int:
    """The code of a load between 0 and MAX_VALUE."""
    return round(log1p(value * _FINEST) / _PER_CODE)


def value_of(code: int) -> float:
    """The load of a code that is not MISSING."""
    return expm1(code * _PER_CODE) / _FINEST


def packed(values: Sequence[float], kind: Literal["d", "f", "H"]) -> bytes:
    """The values as little-endian doubles, floats or 16-bit codes."""
    data = values if isinstance(values, array) else array(kind, values)
    if sys.byteorder == "big":
        data = data[:]
        data.byteswap()
    return data.tobytes()


def unpacked(packed: bytes, kind: Literal["d", "f", "H"]) -> array[float]:
    """The values of `packed`. Raises ValueError where these are none of it."""
    data: array[float] = array(kind)
    data.frombytes(packed)
    if sys.byteorder == "big":
        data.byteswap()
    return data


def looked_into(packed: bytes, kind: Literal["d", "f"]) -> memoryview[float] | array[float]:
    """The same without a copy, for who needs a few of them."""
    if sys.byteorder == "big":
        return unpacked(packed, kind)
    try:
        return memoryview(packed).cast(kind)
    except TypeError as error:
        raise ValueError(f"{len(packed)} bytes are no numbers of this size") from error


def _bytes_of(text: object) -> object:
    """What is no base64 is kept as it stands: it is found out where it is used, and only what stands on it begins anew."""
    if not isinstance(text, str):
        return text
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text.encode(errors="replace")


def _text_of(data: bytes) -> str:
    return b64encode(data).decode("ascii")


Packed = Annotated[bytes, BeforeValidator(_bytes_of), PlainSerializer(_text_of, return_type=str)]
"""Bytes inside, base64 in JSON: a state is read and written in every decision, and saved now and then."""
