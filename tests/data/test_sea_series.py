from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cvae.data.sea_series import ages, decimal_years, read_series, simulated_series
from cvae.errors import MissingFileError, UserError

SHARED = Path(os.environ.get("CVAE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FILE = SHARED / "sea_temperature" / "train.csv"
needs_file = pytest.mark.skipif(not FILE.is_file(), reason=f"the temperatures are not in {FILE}")

Change = Callable[[pd.DataFrame], pd.DataFrame]


def days(start: str = "1999-06-01", end: str = "2008-05-31") -> pd.DataFrame:
    """A table of random temperatures, as text."""
    dates = pd.date_range(start, end)
    values = np.random.default_rng(0).normal(size=(len(dates), 6)).round(3)
    table = pd.DataFrame(values, columns=[f"s{number}" for number in range(1, 7)]).astype(str)
    table.insert(0, "dates", dates.strftime("%Y-%m-%d"))
    return table


def test_a_file_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    days().to_csv(tmp_path / "sea.csv", index=False)
    expected = pd.read_csv(tmp_path / "sea.csv", parse_dates=["dates"])
    series = read_series(tmp_path / "sea.csv")
    assert (series.dates == expected.dates.to_numpy().astype("datetime64[D]")).all()
    np.testing.assert_allclose(series.x.numpy(), expected.iloc[:, 1:].to_numpy(), rtol=1e-6)
    assert series.x.dtype == torch.float32


def test_conditions_are_the_angle_of_the_day_and_the_year(tmp_path: Path) -> None:
    days().to_csv(tmp_path / "sea.csv", index=False)
    series = read_series(tmp_path / "sea.csv")
    dates = pd.DatetimeIndex(series.dates)
    share = (dates.day_of_year - 0.5) / np.where(dates.is_leap_year, 366, 365)
    expected = np.stack([np.sin(2 * np.pi * share), np.cos(2 * np.pi * share), dates.year + share], axis=1)
    np.testing.assert_allclose(series.y.numpy(), expected, atol=2e-4)
    np.testing.assert_allclose(series.y[:, :2].numpy(), expected[:, :2], atol=1e-6)


def without(table: pd.DataFrame, date: str) -> pd.DataFrame:
    return table[table.dates != date]


def with_value(table: pd.DataFrame, date: str, column: str, value: str) -> pd.DataFrame:
    return table.assign(**{column: table[column].where(table.dates != date, value)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, "2003-02-28"), "lacks 2003-02-28; there must be no gap"),
        (lambda t: pd.concat([t.iloc[:50], t.iloc[49:]]), "has 1999-07-20 more than once"),
        (lambda t: pd.concat([t.iloc[50:], t.iloc[:50]]), "has 1999-06-01 after 2008-05-31; .* rising order"),
        (lambda t: t.drop(columns=["s2", "s5"]), r"number of stations is 4 \(s1, s3, s4, s6\); it must be 6"),
        (lambda t: t.assign(s7="1.0"), "number of stations is 7"),
        (lambda t: t.assign(s3=""), "station s3 is empty"),
        (lambda t: with_value(t, "2001-01-05", "s4", ""), "station s4 has '' on 2001-01-05; it must be a temperature"),
        (lambda t: with_value(t, "2001-01-05", "s4", "warm"), "station s4 has 'warm' on 2001-01-05"),
        (lambda t: with_value(t, "2001-01-05", "s1", "inf"), "station s1 has 'inf' on 2001-01-05"),
        (lambda t: with_value(t, "2001-01-05", "s1", "1e300"), "station s1 has '1e300' on 2001-01-05"),
        (
            lambda t: with_value(t, "1999-06-03", "dates", "1999-6-3"),
            "line 4 has the date '1999-6-3'",
        ),
        (lambda t: with_value(t, "1999-06-03", "dates", "3.6.99"), "line 4 has the date '3.6.99'; .* as 2006-12-31"),
        (lambda t: with_value(t, "1999-06-03", "dates", ""), "line 4 has the date ''"),
        (lambda t: with_value(t, "1999-06-03", "dates", "1999-02-30"), "line 4 has the date '1999-02-30'"),
        (lambda t: t.rename(columns={"dates": "day"}), "its first column is 'day'; it must be 'dates'"),
        (lambda t: t.iloc[:0], "has no days"),
        (lambda t: t.iloc[366:], "has the days from 2000-06-01 to 2008-05-31; it must have more than 8 years"),
    ],
)
def test_a_file_that_is_no_such_series_gives_one_message(change: Change, message: str, tmp_path: Path) -> None:
    change(days()).to_csv(tmp_path / "sea.csv", index=False)
    with pytest.raises(UserError, match=f"sea.csv: {message}") as caught:
        read_series(tmp_path / "sea.csv")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_gives_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no\.csv: no such file; data\.file is a CSV file"):
        read_series(tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its first column is ''"),
        (b"\xff\xfe\x00\x81", "is no text file"),
        (b"dates,s1\n2001-01-01,1\n2001-01-02,1,2,3\n", r"number of stations is 1 \(s1\)"),
        (b"dates" + b",s" * 3000, r"number of stations is 3000 \((s, ){12}\.\.\.\); it must be 6"),
    ],
)
def test_a_file_that_is_no_table_gives_one_message(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "sea.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"sea\.csv: {message}"):
        read_series(tmp_path / "sea.csv")


@pytest.mark.parametrize("end", [",", ",1.5", ",1,2"])
def test_rows_that_are_longer_than_the_header_are_refused(end: str, tmp_path: Path) -> None:
    header, *rows = days().to_csv(index=False).splitlines()
    (tmp_path / "sea.csv").write_text("\n".join([header, *(row + end for row in rows)]))
    with pytest.raises(UserError, match=r"sea\.csv: line 2 has [89] values, more than its header has names"):
        read_series(tmp_path / "sea.csv")


def test_years_are_counted_back_from_the_last_day() -> None:
    dates = pd.date_range("1999-06-01", "2008-02-29")
    last = dates[-1]
    expected = sum((dates <= last - pd.DateOffset(years=k)).astype(int) for k in range(1, 10))
    assert (ages(dates.to_numpy().astype("datetime64[D]")) == expected).all()


def test_the_simulation_has_the_documented_mean_spread_and_correlations() -> None:
    samples = [simulated_series(seed) for seed in range(20)]
    years = decimal_years(samples[0].dates)[:, None]
    x = torch.stack([one.x for one in samples]).double().numpy()
    # of the first station and the last, from the constants of the module
    mean = 0.15 * (years - 1995) / 10 + 0.8 * np.sin(4 * np.pi * years) + 0.9 * np.cos(4 * np.pi * years)
    spread = np.exp(-0.1 * np.sin(2 * np.pi * years) - 0.3 * np.cos(2 * np.pi * years))
    u = (x[:, :, 0] - mean[:, 0]) / spread[:, 0]
    assert abs(u.mean()) < 0.03
    assert u.std() == pytest.approx(1, abs=0.02)
    assert np.mean(u[:, 1:] * u[:, :-1]) == pytest.approx(0.96, abs=0.03)
    assert np.corrcoef(u[:, 0], u[:, 1])[0, 1] > 0.8
    anomaly = x - x.mean(0)
    tau = np.corrcoef(anomaly[:, :, 2].ravel(), anomaly[:, :, 5].ravel())[0, 1]
    assert tau == pytest.approx(0.7 * 0.5, abs=0.05)


def test_the_simulation_follows_the_seed() -> None:
    assert torch.equal(simulated_series(1).x, simulated_series(1).x)
    assert not torch.equal(simulated_series(1).x, simulated_series(2).x)


@needs_file
def test_the_shared_file_is_a_series_of_27_years() -> None:
    series = read_series(FILE)
    assert (str(series.dates[0]), str(series.dates[-1])) == ("1981-09-01", "2007-12-31")
    assert series.x.shape == (9618, 6)
    assert ages(series.dates).max() == 26
