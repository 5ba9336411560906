"""The simulator's text: how many tokens a text is, and which words it answers with.

Every word of an answer has three letters, so that with its space it counts as exactly one token when it comes back in a later prompt.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib

_CHARACTERS_PER_TOKEN = 4
_ROUND = "air ant ash bay bed bee bow box cup dam dew elm fen fig fir fog gem hay hen ice ink ivy jar key log mud oak owl pea red rye"
_WORDS = _ROUND.split(" ")


def tokens_in(text: str) -> int:
    """Tokens of a text, by the rule of thumb of four characters to a token; at least 1."""
    return max(1, -(-len(text) // _CHARACTERS_PER_TOKEN))


def opening(prompt: str, seed: int) -> int:
    """Where in the round of words the answer to this prompt begins: the same prompt and seed get the same answer."""
    return zlib.crc32(prompt.encode("utf-8", "surrogatepass"), seed & 0xFFFFFFFF)


def word(opening: int, index: int) -> str:
    """The answer's word at this index, with the space that goes before it."""
    text = _WORDS[(opening + index * index) % len(_WORDS)]
    return " " + text if index else text


def pseudo_vector(text: str, seed: int, dimensions: int) -> list[float]:
    """A unit vector that depends on the text and the seed alone. It means nothing: like texts are not near each other."""
    source = hashlib.shake_256(b"%d:" % seed + text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    values = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", source)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]
