"""How the smallest count that is enough is found with few trials."""

from __future__ import annotations

from collections.abc import Callable


def fewest(failure: Callable[[int], str], least: int, most: int, start: int) -> int:
    """The smallest count from `least` on that holds everything, or `most` where that is too few; found sooner where `start` is near.

    `failure` says what so many do not hold, or nothing.
    """
    if least >= most:
        return most
    at, step = min(max(start, least), most), 1
    # From here on `low` fails or is too few to try, and `high` holds or is the most there may be.
    if failure(at):
        low, high = at, min(at + step, most)
        while high < most and failure(high):
            step *= 2
            low, high = high, min(high + step, most)
    else:
        low, high = max(at - step, least - 1), at
        while low >= least and not failure(low):
            step *= 2
            low, high = max(low - step, least - 1), low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure(middle) else (low, middle)
    return high
