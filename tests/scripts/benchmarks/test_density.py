from __future__ import annotations

import pytest
import torch
from density import TrainingPoints, averaged

from cvae.baselines import monte_carlo
from cvae.baselines.densities import ENDLESS
from cvae.data import Batch

from .conftest import word

SMALL = ["data.train=300", "data.validation=16", "data.test=60"]
TINY = word(["trainer.max_epochs=1", "evaluation.draws=20", "callbacks.figures=null", "test=false"])


def test_baselines_stand_beside_the_model(run_benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monte_carlo, "LENGTH", 5)
    done = run_benchmark("density", "seeds=[0]", "data.components=2", *SMALL, TINY, "out=kept")
    assert done.status == 0, done.err
    table = {row["method"]: row for row in done.table}
    runs = [f"mixture by EM: {kind}" for kind in ("acceptance-rejection", "Metropolis-Hastings")]
    assert list(table) == ["real against real", "Gaussian", "mixture by EM", "kernel density", "CVAE", *runs]
    # a mixture of two far Gaussians is no Gaussian
    for name in ("sliced_wasserstein", "mmd"):
        assert float(table["mixture by EM"][name]) < float(table["Gaussian"][name])
    for better in ("real against real", "mixture by EM"):
        assert float(table[better]["log_likelihood"]) > float(table["Gaussian"]["log_likelihood"]) + 0.1
    assert table["mixture by EM"]["components"] == "2"
    assert table["kernel density"]["kernel"] in ENDLESS
    assert float(table[runs[1]]["autocorrelation"]) > 1


def test_rows_of_seeds_are_averaged() -> None:
    tables = [[{"method": "a", "mmd": value, "kernel": kind}] for value, kind in ((1.0, "x"), (2.0, "x"), (6.0, "z"))]
    # standard deviation of 1, 2 and 6: the root of (4 + 1 + 9) / 2
    assert averaged(tables) == [{"method": "a", "mmd": "3 ± 2.6", "kernel": "x, z"}]
    assert averaged(tables[:1]) == tables[0]


def test_training_points_come_equally_often(generator: torch.Generator) -> None:
    points = TrainingPoints(Batch(torch.arange(5.0)[:, None], torch.empty(5, 0)))
    assert len(points.draw(torch.empty(1, 0), 4, generator).unique()) == 4
    more = points.draw(torch.empty(2, 0), 6, generator)
    assert more.shape == (2, 6, 1)
    assert more.unique(return_counts=True)[1].sort().values.tolist() == [2, 2, 2, 3, 3]


def test_data_without_models_are_refused(run_benchmark) -> None:
    done = run_benchmark("density", "data=product")
    assert done.status == 1
    assert "data is product; choose from gaussian_mixture, swiss_roll, sea_temperature" in done.err


def test_dimensions_stand_below_each_other(run_benchmark, tmp_path) -> None:
    tiny = word(["trainer.max_epochs=1", "evaluation.draws=20"])
    words = ("dimensions=[2,4]", "seeds=[0]", "points=200", "test=100", "components=2", "out=kept", "figure=a.png")
    done = run_benchmark("dimensions", *words, tiny)
    assert done.status == 0, done.err
    methods = ["kernel density", "mixture by EM", "CVAE"]
    assert [(row["dimension"], row["method"]) for row in done.table] == [(d, m) for d in "24" for m in methods]
    # the model family that the points come from is nearest
    for number in (0, 3):
        gaps = [float(row["gap"]) for row in done.table[number : number + 3]]
        assert gaps[1] == min(gaps)
    assert (tmp_path / "work" / "a.png").stat().st_size > 0


def test_dimensions_need_points(run_benchmark) -> None:
    done = run_benchmark("dimensions", "points=5")
    assert done.status == 1
    assert "points are [2, 3, 5, 10, 20], [0, 1, 2], 5" in done.err
