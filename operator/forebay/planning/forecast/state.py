"""What a forecaster remembers, as it is kept beside a pool: JSON of numbers and base64, the same bytes after the same observations."""

from __future__ import annotations

from forebay.api.meta import K8sModel
from forebay.planning.forecast.codes import Packed

VERSION = 1
LONG_STEP_S = 600


class ForecastState(K8sModel):
    """A series in steps of `step_s` seconds since the epoch; `horizons`, in steps, are those that are learned.

    `step` is the one being filled (-1 before the first), with the sum and number of its observations; `since` the first that was.
    `late` counts observations in a row that were older than `step`. The rest is packed: see `packing`.
    """

    version: int = VERSION
    step_s: int = 60
    horizons: tuple[int, ...] = (1, 5, 15)
    since: int = -1
    step: int = -1
    total: float = 0.0
    count: int = 0
    late: int = 0
    yesterday: Packed = b""
    day: Packed = b""
    week: Packed = b""
    model: Packed = b""
    scores: Packed = b""


def fresh(step_s: int = 60) -> ForecastState:
    """A state that has seen nothing. Horizons are 1, 5 and 15 steps, or 1, 2 and 3 where a step is ten minutes or more.

    Raises: ValueError for steps that do not divide a day, or a slot of ten minutes.
    """
    if step_s < 1 or 86400 % step_s or (step_s < LONG_STEP_S and LONG_STEP_S % step_s) or 86400 // step_s > 1440:
        raise ValueError(f"{step_s} s: a step takes from 60 s to a day, and a whole number of steps makes ten minutes or a day")
    return ForecastState(step_s=step_s, horizons=(1, 2, 3) if step_s >= LONG_STEP_S else (1, 5, 15))
