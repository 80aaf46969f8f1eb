from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate

from cvae.errors import UserError
from cvae.metrics import kendall_values
from cvae.models.checkpoints import check_config
from cvae.tasks import GenerationTask, SeaTemperature
from cvae.tasks.sea_figures import dependence_figure, quantiles_figure, season_figure


def test_a_decimal_year_names_a_date() -> None:
    y = SeaTemperature().conditions([2006.25, 2000])
    expected = torch.tensor([[1.0, 0.0, 2006.25], [0.0, 1.0, 2000.0]])
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "condition is missing; give dates as decimal years"),
        ([2006.5, 153], "condition holds 153; a date must be a decimal year from 1900 to 2100"),
        ([math.nan], "condition holds nan"),
        ([math.inf], "condition holds inf"),
    ],
)
def test_what_names_no_date_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SeaTemperature().conditions(values)


def test_config_gives_the_same_task_and_is_plain() -> None:
    task = SeaTemperature()
    check_config(task.config)
    assert instantiate(task.config) == task
    assert isinstance(task, GenerationTask)


def test_the_picture_of_draws_names_their_dates(generator: torch.Generator) -> None:
    task = SeaTemperature()
    y = task.conditions([2006.0014, 2004.162, 1999.999])
    (figure,) = task.figures(task.drawn(torch.arange(3), torch.randn(3, 5, 6, generator=generator), y)).values()
    titles = [axis.get_title().split(":")[0] for axis in figure.axes]
    # 2004 has a 29th of February: day 59 of 366
    assert titles == ["2006-01-01", "2004-02-29", "1999-12-31"]


def test_the_picture_of_the_year_says_how_many_days_are_inside_the_band(generator: torch.Generator) -> None:
    y = SeaTemperature().conditions((2000 + (torch.arange(3_600) + 0.5) / 3_600).tolist())
    x = torch.randn(3_600, 6, generator=generator) * (2 + y[:, :1])
    draws = torch.randn(3_600, 5, 6, generator=generator) * (2 + y[:, :1]).unsqueeze(1)
    inside = [int(axis.get_title().split()[1]) for axis in season_figure(draws, x, y).axes]
    assert all(88 <= share <= 92 for share in inside)


def test_pictures_of_samples_compare_them_with_the_observed_days(generator: torch.Generator) -> None:
    x = torch.randn(200, 6, generator=generator)
    samples = {"one": x.unsqueeze(1), "other": x.unsqueeze(1) + 2}
    legends = [axis.get_legend().get_texts() for axis in quantiles_figure(samples, x).axes]
    distances = [[float(text.get_text().split(": ")[1]) for text in texts] for texts in legends]
    assert all(alike < 1 < 100 < shifted for alike, shifted in distances)
    (axis,) = dependence_figure(samples, x).axes
    assert [line.get_label() for line in axis.lines] == ["observed days", "one", "other"]
    torch.testing.assert_close(torch.tensor(axis.lines[0].get_xdata()), kendall_values(x).sort().values)
