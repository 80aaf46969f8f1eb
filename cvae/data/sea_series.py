"""Daily temperatures at six stations: read from a CSV file, or simulated."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cvae.errors import MissingFileError, UserError
from cvae.files import read_text
from cvae.seeds import Purpose, stream
from cvae.tasks.sea_temperature import STATIONS, conditions_of

if TYPE_CHECKING:
    import pandas as pd

#: name of the column of dates, which have the form 2006-12-31
DATES = "dates"
#: years that a series must exceed to have training, validation and test
YEARS = 8
#: first and last day of the simulation
START, END = "1981-01-01", "2007-12-31"
#: of the simulation, for each station: degrees for each decade; sine and cosine of twice the day of the year in the
#: mean; level, sine and cosine of the day of the year in the logarithm of the standard deviation; weight of what all
#: stations share
TREND = (0.15, 0.1, 0.25, 0.3, 0.25, 0.35)
MEAN = ((0.8, -0.2, -0.2, 0.1, 0.8, -0.3), (0.9, 0.5, 1.4, 1.1, 1.6, 0.7))
SPREAD = ((0.0, 0.5, 0.0, -0.5, -0.2, 0.5), (-0.1, 0.1, -0.4, -0.4, -0.5, 0.0), (-0.3, -0.15, -0.4, -0.65, -0.65, -0.2))
SHARED = (0.4, 0.2, 0.7, 0.4, 0.5, 0.5)
#: correlation of one day with the next
PERSISTENCE = 0.96


class Series(NamedTuple):
    """Temperatures of consecutive days.

    Attributes:
        dates: ``(days,)``, in rising order without gaps, ``datetime64[D]``.
        x: temperatures ``(days, 6)`` in degrees Celsius.
    """

    dates: np.ndarray
    x: Tensor

    @property
    def y(self) -> Tensor:
        """The dates as conditions, ``(days, 3)``."""
        return conditions_of(torch.from_numpy(decimal_years(self.dates)))


def decimal_years(dates: np.ndarray) -> np.ndarray:
    """Noon of each of the dates ``(days,)`` as a decimal year."""
    year = dates.astype("datetime64[Y]")
    first, after = (one.astype("datetime64[D]") for one in (year, year + 1))
    share = ((dates - first).astype(float) + 0.5) / (after - first).astype(float)
    return np.asarray(year.astype(int) + 1970 + share)


def read_series(path: str | Path) -> Series:
    """The days of a CSV file with the header ``dates,s1,...,s6`` (the stations may have other names).

    Raises:
        MissingFileError: if there is no such file.
        UserError: for a file that is no such table: stations missing or too many, dates that cannot be read, come
            twice, are not in order or are missing, temperatures that are missing or no number, too few years; the
            message names the file and the first wrong place.
    """
    # takes a while to import
    import pandas as pd

    try:
        text = read_text(path)
    except MissingFileError:
        raise MissingFileError(
            f"{path}: no such file; data.file is a CSV file, or null for simulated temperatures."
        ) from None
    try:
        _check_columns(text, path)
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    except UserError:
        raise
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}).") from None
    names = table.columns[1:].tolist()
    dates = _dates(table[DATES], path)
    _check_dates(dates, path)
    x = torch.tensor(table[names].apply(pd.to_numeric, errors="coerce").to_numpy(float), dtype=torch.float32)
    _check_values(x.numpy(), table[names].to_numpy(), dates, names, path)
    if ages(dates).max() < YEARS:
        raise UserError(
            f"{path}: has the days from {dates[0]} to {dates[-1]}; it must have more than {YEARS} years, of which the "
            "last three are held out."
        )
    return Series(dates, x)


def _check_columns(text: str, path: str | Path) -> None:
    """Refuse another header, and rows that are longer; before pandas, which takes minutes for a million values."""
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    first, *names = next(filter(None, rows), [""])
    if first != DATES:
        raise UserError(f"{path}: its first column is {first!r}; it must be {DATES!r}.")
    if len(names) != STATIONS:
        shown = f"{', '.join(names[: 2 * STATIONS])}{', ...' if len(names) > 2 * STATIONS else ''}"
        raise UserError(f"{path}: number of stations is {len(names)} ({shown}); it must be {STATIONS}.")
    for row in rows:
        if len(row) > 1 + STATIONS:
            raise UserError(
                f"{path}: line {rows.line_num} has {len(row):,} values, more than its header has names; remove commas "
                "at its end."
            )


def _dates(column: pd.Series, path: str | Path) -> np.ndarray:
    """The dates of a column of text, ``datetime64[D]``."""
    import pandas as pd

    # pandas takes 1990-1-2 as well
    written = column.where(column.str.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}"))
    found = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    if len(found) == 0:
        raise UserError(f"{path}: has no days.")
    wrong = np.flatnonzero(found.isna())
    if len(wrong):
        # the first line is the header
        raise UserError(
            f"{path}: line {wrong[0] + 2} has the date {column[wrong[0]]!r}; a date must be written as 2006-12-31."
        )
    return found.to_numpy().astype("datetime64[D]")


def _check_dates(dates: np.ndarray, path: str | Path) -> None:
    """Refuse dates that come twice, are not in order or are missing."""
    places, counts = np.unique(dates, return_counts=True)
    if counts.max() > 1:
        raise UserError(f"{path}: has {places[counts > 1][0]} more than once; each date must come once.")
    steps = np.diff(dates).astype(int)
    if (steps < 0).any():
        back = int(np.argmax(steps < 0))
        raise UserError(f"{path}: has {dates[back + 1]} after {dates[back]}; dates must be in rising order.")
    if (steps > 1).any():
        raise UserError(f"{path}: lacks {dates[np.argmax(steps > 1)] + 1}; there must be no gap between the dates.")


def _check_values(values: np.ndarray, text: np.ndarray, dates: np.ndarray, names: list[str], path: str | Path) -> None:
    """Refuse stations without values, and values that are missing or not finite in single precision."""
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    for number, name in enumerate(names):
        if (text[:, number] == "").all():
            raise UserError(f"{path}: station {name} is empty; each of the {STATIONS} stations must have all days.")
    day, station = np.argwhere(wrong)[0]
    raise UserError(
        f"{path}: station {names[station]} has {text[day, station]!r} on {dates[day]}; it must be a temperature, "
        "and none may be missing."
    )


def ages(dates: np.ndarray) -> np.ndarray:
    """Whole years from each of the dates to the last one, ``(days,)``: 0 for the last twelve months, 1 for those before
    them, and so on."""
    months = dates.astype("datetime64[M]")
    year, month = months.astype(int) // 12, months.astype(int) % 12
    place = month * 31 + (dates - months.astype("datetime64[D]")).astype(int)
    return year[-1] - year - (place > place[-1])


def simulated_series(seed: int) -> Series:
    """Temperatures of 1981 to 2007, simulated; the parameters are constants of this module.

    ``x = m(day) + trend (year - 1995) + s(day) u``, for each station: the mean ``m`` has two waves in a year, the
    logarithm of the standard deviation ``s`` has one, and ``u`` is a Gaussian autoregressive process of order 1 with
    variance 1 whose noise is partly common to all stations. It has the features of daily anomalies of sea-surface
    temperature and no value of any data.
    """
    # takes a while to import
    from scipy.signal import lfilter

    dates = np.arange(START, np.datetime64(END) + 1, dtype="datetime64[D]")
    noise = torch.randn(len(dates), 1 + STATIONS, generator=stream(Purpose.SIMULATION, seed, 0), dtype=torch.float64)
    shared = np.array(SHARED)
    steps = shared * noise[:, :1].numpy() + np.sqrt(1 - shared**2) * noise[:, 1:].numpy()
    # the first day has the variance of all others
    steps[1:] *= np.sqrt(1 - PERSISTENCE**2)
    u = lfilter([1.0], [1.0, -PERSISTENCE], steps, axis=0)
    years = decimal_years(dates)[:, None]
    angle, wave, spread = 2 * np.pi * years, np.array(MEAN), np.array(SPREAD)
    mean = np.array(TREND) * (years - 1995) / 10 + np.sin(2 * angle) * wave[0] + np.cos(2 * angle) * wave[1]
    scale = np.exp(spread[0] + np.sin(angle) * spread[1] + np.cos(angle) * spread[2])
    return Series(dates, torch.from_numpy(mean + scale * u).float())
