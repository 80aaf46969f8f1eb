from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cvae.data import SeaTemperatureData, sea_measures
from cvae.data.sea_series import Series
from cvae.data.sea_temperature import TrainingDays, split_by_time
from cvae.errors import UserError
from cvae.seeds import Purpose, stream


@pytest.fixture(scope="module")
def data() -> SeaTemperatureData:
    return SeaTemperatureData(batch_size=32, year_noise=4.0, seed=3)


def dates_of(start: str, end: str) -> Series:
    dates = np.arange(start, np.datetime64(end) + 1, dtype="datetime64[D]")
    return Series(dates, torch.randn(len(dates), 6))


def test_the_last_three_years_are_held_out_and_whole_years_validate() -> None:
    series = dates_of("1981-09-01", "2007-12-31")
    train, validation, test = split_by_time(series)
    assert set(test.y[:, 2].int().tolist()) == {2005, 2006, 2007}
    assert set(validation.y[:, 2].int().tolist()) == {1985, 1990, 1995, 2000}
    assert len(test.x) == 1095
    assert len(validation.x) == 365 * 4 + 1
    assert len(train.x) + len(validation.x) + len(test.x) == len(series.x)
    assert not set(train.y[:, 2].int().tolist()) & {2005, 2006, 2007, 1985, 1990, 1995, 2000}


def test_years_begin_in_the_middle_of_a_year_where_the_series_ends_there() -> None:
    series = dates_of("1998-01-01", "2008-06-30")
    train, validation, test = split_by_time(series)
    assert torch.equal(test.x, series.x[series.dates > np.datetime64("2005-06-30")])
    inside = (series.dates > np.datetime64("2000-06-30")) & (series.dates <= np.datetime64("2001-06-30"))
    assert torch.equal(validation.x, series.x[inside])
    assert len(train.x) == len(series.x) - len(test.x) - len(validation.x)


def test_training_days_are_in_random_order_and_all_there(data: SeaTemperatureData) -> None:
    years = data.splits.train.y[:, 2]
    assert len(years.unique()) == len(years)
    assert years[:2_000].std().item() == pytest.approx(years.std().item(), rel=0.1)


def test_the_network_sees_years_with_noise_and_days_as_they_are(data: SeaTemperatureData) -> None:
    perturb = data.perturbed()
    assert perturb is not None
    y = data.splits.train.y
    seen = perturb(y, torch.Generator().manual_seed(0))
    assert torch.equal(seen[:, :2], y[:, :2])
    assert (seen[:, 2] - y[:, 2]).std().item() == pytest.approx(4.0, rel=0.05)
    assert SeaTemperatureData(batch_size=32).perturbed() is None


def test_draws_from_the_training_days_are_of_the_same_season(data: SeaTemperatureData) -> None:
    train, _, test = data.splits
    drawn = TrainingDays(train).draw(test.y[:400], 20, stream(Purpose.EVALUATION, 0))
    known = {tuple(x): y for x, y in zip(train.x.tolist(), train.y.tolist(), strict=True)}
    found = torch.tensor([[known[tuple(x)] for x in draws] for draws in drawn.tolist()])
    share = torch.atan2(found[..., 0], found[..., 1]) / (2 * np.pi)
    asked = torch.atan2(test.y[:400, 0], test.y[:400, 1]) / (2 * np.pi)
    apart = (share - asked.unsqueeze(1) + 0.5) % 1 - 0.5
    assert apart.abs().max().item() * 365.25 < 8
    assert apart.abs().max().item() * 365.25 > 6
    assert abs(apart.mean().item()) * 365.25 < 0.5
    assert len(found[..., 2].int().unique()) > 15


class Shifted:
    """A model that knows the days that are asked for, and gives them all shifted."""

    device = torch.device("cpu")

    def __init__(self, data: SeaTemperatureData, shift: float) -> None:
        self.known = {float(y[2]): x for split in data.splits for x, y in zip(*split, strict=True)}
        self.shift = shift

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        x = torch.stack([self.known[float(one)] for one in y[:, 2]])
        return x.unsqueeze(1).expand(-1, draws, -1) + self.shift


def test_measures_of_a_sampler_that_knows_the_days(data: SeaTemperatureData) -> None:
    test = data.splits.test
    exact = sea_measures(Shifted(data, 0.0), test, 3, torch.Generator())
    shifted = sea_measures(Shifted(data, 1.0), test, 3, torch.Generator())
    assert exact["energy_score"] == pytest.approx(0, abs=1e-5)
    assert shifted["energy_score"] == pytest.approx(6**0.5, abs=1e-4)
    assert exact["anderson_darling"] < 0.1 < 50 < shifted["anderson_darling"]
    # a shift leaves the dependence; each day comes three times, of which the two others are not smaller
    assert exact["kendall_error"] == pytest.approx(shifted["kendall_error"], abs=1e-4)
    assert exact["kendall_error"] < 0.001


def test_the_report_measures_the_training_days_and_shows_the_draws(
    data: SeaTemperatureData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvae.data.sea_temperature.DRAWS", 3)
    report = data.report(Shifted(data, 0.0))  # type: ignore[arg-type]
    names = ("anderson_darling", "kendall_error", "energy_score")
    assert set(report.measures) == {f"{name}_training" for name in names}
    expected = sea_measures(TrainingDays(data.splits.train), data.splits.test, 3, torch.Generator().manual_seed(0))
    for name, tolerance in zip(names, (0.1, 0.2, 0.05), strict=True):
        assert report.measures[f"{name}_training"] == pytest.approx(expected[name], rel=tolerance)
    assert set(report.figures) == {"season", "quantiles", "dependence"}


@pytest.mark.parametrize("noise", [-1.0, float("inf"), float("nan")])
def test_senseless_noise_is_refused(noise: float) -> None:
    with pytest.raises(UserError, match=r"data\.year_noise is .*; it must be a number of years, at least 0"):
        SeaTemperatureData(batch_size=32, year_noise=noise)


def test_measures_need_two_days_and_two_draws(data: SeaTemperatureData) -> None:
    with pytest.raises(UserError, match=r"data\.evaluation\.test is 1; .* at least 2 days"):
        SeaTemperatureData(batch_size=32, evaluation={"test": 1})
    with pytest.raises(UserError, match=r"evaluation\.draws is 1; the energy score needs at least 2"):
        data.measures("validation", 1)
