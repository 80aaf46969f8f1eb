from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cvae.data import Batch, GaussianMixtureData
from cvae.errors import UserError
from cvae.networks import Gaussian, GaussianLatent, Reconstruction

SMALL: dict[str, Any] = {"batch_size": 32, "train": 60, "validation": 20, "test": 600, "seed": 3}


class Truth:
    """A model that is the true density, with the points themselves as its latent."""

    device = torch.device("cpu")

    def __init__(self, data: GaussianMixtureData, weights: Tensor | None = None) -> None:
        self.density, self.network = data.mixture.density, self
        self.drawn = self.density if weights is None else self.density._replace(weights=weights)

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        return self.drawn.sample(draws, generator).unsqueeze(0)

    def reconstruct(self, x: Tensor, y: Tensor) -> Reconstruction:
        normal = Gaussian(x, torch.zeros_like(x))
        return Reconstruction(x.unsqueeze(1), GaussianLatent(normal, normal), x)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        return self.density.log_prob(batch.x) - 0.25

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": 0.5 - self.density.log_prob(batch.x)}


def test_splits_have_their_sizes_and_no_condition() -> None:
    data = GaussianMixtureData(**SMALL)
    assert [len(part.x) for part in data.splits] == [60, 20, 600]
    assert data.splits.train.y.shape == (60, 0)
    assert data.conditions("validation").y.shape[1:] == (0,)


def test_splits_follow_the_seed_and_share_no_point() -> None:
    first, same = GaussianMixtureData(**SMALL).splits, GaussianMixtureData(**SMALL).splits
    other = GaussianMixtureData(**SMALL | {"seed": 4}).splits
    assert torch.equal(first.train.x, same.train.x)
    assert not torch.equal(first.train.x, other.train.x)
    assert not torch.isin(first.test.x, first.train.x).any()


def test_the_task_is_made_without_the_points() -> None:
    config = SMALL | {"_target_": "cvae.data.GaussianMixtureData", "components": 5, "separation": 3.0}
    assert GaussianMixtureData.make_task(config) == GaussianMixtureData(**SMALL, components=5, separation=3.0).task


def test_the_report_of_the_truth_is_right() -> None:
    data = GaussianMixtureData(**SMALL, components=4)
    report = data.report(Truth(data))
    found = report.measures
    assert found["components"] == 4
    for name in ("data", "samples", "latent"):
        assert found[f"clusters_{name}"] == found[f"modes_{name}"] == 4
    assert found["cluster_weight_error"] < 0.03
    assert found["log_likelihood_gap"] == pytest.approx(0.25, abs=1e-4)
    assert set(report.figures) == {"silhouettes", "tsne"}


def test_the_report_tells_of_a_lost_component() -> None:
    data = GaussianMixtureData(**SMALL, components=4)
    weights = data.mixture.density.weights * torch.tensor([0.0, 1, 1, 1])
    found = data.report(Truth(data, weights)).measures
    assert found["clusters_data"] == 4
    assert found["clusters_samples"] == found["modes_samples"] == 3
    assert found["cluster_weight_error"] > 0.03


def test_the_report_of_a_model_without_a_latent_leaves_it_out() -> None:
    data = GaussianMixtureData(**SMALL | {"test": 60}, components=2)
    model = Truth(data)
    model.network = object()
    names = {"clusters_data", "clusters_samples", "modes_data", "modes_samples", "cluster_weight_error", "components"}
    found = data.report(model).measures
    assert set(found) == names | {"log_likelihood", "true_log_likelihood", "log_likelihood_gap"}


def test_bounds() -> None:
    with pytest.raises(UserError, match=r"data\.test is 1; it must be at least 20"):
        GaussianMixtureData(**SMALL | {"test": 1})
