"""What demand will be, and how sure that is: a series of loads in, its middle and an upper bound some minutes ahead out.

Pure and incremental: each new point costs the same whatever lies behind it, and the state is JSON that replays byte for byte.
Model and symbols: docs/planning/forecast.md.
"""

from forebay.planning.forecast.forecast import Forecast as Forecast
from forebay.planning.forecast.forecast import drifted as drifted
from forebay.planning.forecast.forecast import observe as observe
from forebay.planning.forecast.forecast import predict as predict
from forebay.planning.forecast.forecast import read as read
from forebay.planning.forecast.packing import Glimpse as Glimpse
from forebay.planning.forecast.past import Span as Span
from forebay.planning.forecast.past import relived as relived
from forebay.planning.forecast.state import ForecastState as ForecastState
from forebay.planning.forecast.state import fresh as fresh
