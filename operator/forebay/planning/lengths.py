"""What requests are like: their lengths, prompts and answers, as means and spreads that are learned from what was answered.

A window of measurement has few requests in it, and lengths are unequal: what differs by no more than chance explains is averaged, so that a
pool is not sized for the longest answers of the last hour. Docs: docs/planning/queueing.md.
"""

from __future__ import annotations

from math import sqrt

from forebay.planning.measured import ClassDemand
from forebay.planning.memory import Shape

SHAPE_REQUESTS = 500.0
"""What is known of requests' lengths is an average over about so many. Windows overlap: a request counts for each that it is in."""
CHANCE = 3.0
"""So many standard errors a mean may be off by chance."""
NOISE = 1e-3
"""Rates are rounded: a length that is another by less than this share is the same."""
ENOUGH = 20.0
"""Requests that say by themselves what lengths have become. Of fewer, one long answer would be all that is known."""
MAX_CV2 = 25.0
"""Lengths more unequal than this are an error of measurement, or one request that no sizing can plan for."""
MAX_LENGTH = 10_000_000.0
"""No model takes or writes more tokens per request: a longer mean is an error of measurement."""


def learned(measured: ClassDemand, count: float, before: Shape | None) -> Shape:
    """Averages over the last hundreds of requests; a mean that is another by more than chance explains is taken as it was measured.

    Where so few were answered that one of them may have made it, what was known counts for half as much, time and again: one long answer
    moves little, and lengths that have changed are followed within some looks. Spreads are about the mean that is known, for a window with
    one answer has none of its own. Where no token was counted the length is what it was: there is no prompt and no answer without any.
    """
    n, known = measured.completed_per_s, before or Shape(input_tokens=0.0, output_tokens=0.0)
    inputs, outputs = measured.input_tokens_per_s / n, measured.output_tokens_per_s / n
    changed_in = _changed(inputs, known.input_tokens, _unequal(known.input_cv2, known.seen, count), count)
    changed_out = _changed(outputs, known.output_tokens, _unequal(known.output_cv2, known.seen, count), count)
    changed, news = changed_in or changed_out, count >= ENOUGH
    seen = known.seen if news or not changed else max(min(known.seen, ENOUGH), 0.5 * known.seen)
    weight = count / (seen + count)

    def mean(now: float, mean: float, changed: bool) -> float:
        if not now:
            return mean
        now = min(now, MAX_LENGTH)
        return round(now if not mean or (changed and news) else mean + weight * (now - mean), 3)

    def spread(now: float, mean: float, square: float, cv2: float) -> float:
        about = now if now > MAX_LENGTH else mean
        if not about or not square:
            return cv2
        return round(max(0.0, cv2 + weight * (min(square / about**2 - 1.0, MAX_CV2) - cv2)), 4)

    input_tokens, output_tokens = mean(inputs, known.input_tokens, changed_in), mean(outputs, known.output_tokens, changed_out)
    return Shape(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        input_cv2=spread(inputs, input_tokens, measured.input_tokens_squared_per_s / n, known.input_cv2),
        output_cv2=spread(outputs, output_tokens, measured.output_tokens_squared_per_s / n, known.output_cv2),
        seen=round(min(seen + count, SHAPE_REQUESTS), 3),
    )


def _unequal(cv2: float, seen: float, count: float) -> float:
    """The spread that lengths may have. Few are held against what is known with some doubt: a spread of 1, as if seen on a few requests."""
    return cv2 if count >= ENOUGH else (cv2 * seen + ENOUGH) / (seen + ENOUGH)


def _changed(now: float, mean: float, cv2: float, count: float) -> bool:
    """Whether a mean of so many lengths is another than the one known, by more than chance explains.

    Lengths are skewed: means of few are longer by chance than they are shorter. The bound is the gamma distribution's, by Wilson and
    Hilferty's approximation (1931), where that allows more than the normal one.
    """
    if not now or not mean:
        return False
    error = sqrt(cv2 / max(1.0, count))
    most = 1.0 + max(CHANCE * error, (1.0 - error**2 / 9.0 + CHANCE * error / 3.0) ** 3 - 1.0)
    return not 1.0 - CHANCE * error - NOISE <= now / mean <= most + NOISE
