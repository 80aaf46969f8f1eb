"""Points of a random mixture of Gaussians, without conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cvae.data.batches import Batch
from cvae.data.pairs import PairData, Report, Splits, TrainedModel
from cvae.errors import UserError
from cvae.metrics.clusters import CLUSTERS, count_modes, find_clusters, shares_error
from cvae.seeds import Purpose, stream
from cvae.tasks import GaussianMixture

#: test points, and as many draws, whose clusters and modes are counted
CLOUD = 2_000
#: points of each split; twelve clusters of the test points must be possible
LEAST = {"train": 2, "validation": 1, "test": 20}
#: samples of the latent for the likelihood of a point
IMPORTANCE = 200


class GaussianMixtureData(PairData):
    """Points of a random mixture of Gaussians, see :class:`cvae.tasks.GaussianMixture`.

    Args:
        batch_size: points per step and process.
        components, separation: of the mixture.
        train, validation, test: number of points of each split.
        dimensions: of a point.
        seed: fixes the mixture, the points and their order.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    def __init__(
        self,
        batch_size: int,
        components: int | None = None,
        separation: float = 4.0,
        train: int = 20_000,
        validation: int = 2_000,
        test: int = 2_000,
        dimensions: int = 3,
        seed: int = 0,
    ) -> None:
        self.mixture = GaussianMixture(components, separation, seed, dimensions)
        # there is one condition, the empty one
        super().__init__(self.mixture, batch_size, {"validation": 1, "test": 1}, seed)
        self.sizes = {"train": train, "validation": validation, "test": test}
        for name, size in self.sizes.items():
            if size < LEAST[name]:
                raise UserError(f"data.{name} is {size}; it must be at least {LEAST[name]}.")

    @staticmethod
    def make_task(config: Mapping[str, Any]) -> GaussianMixture:
        """The task that a config of this class describes; entries about its points are passed over."""
        names = ("components", "separation", "seed", "dimensions")
        return GaussianMixture(**{name: config[name] for name in names if name in config})

    def load(self) -> Splits:
        """All points, drawn from the mixture."""
        density, splits = self.mixture.density, []
        for number, size in enumerate(self.sizes.values()):
            x = density.sample(size, stream(Purpose.SIMULATION, self.seed, 2 + number))
            splits.append(Batch(x, torch.empty(size, 0)))
        return Splits(*splits)

    @torch.no_grad()
    def report(self, model: TrainedModel) -> Report:
        """The number of clusters and modes of data, draws and latent means, and the likelihood of the test points.

        The measures: ``components``, the true number; ``clusters_NAME`` by K-Means and silhouette and ``modes_NAME`` by
        mean-shift, for ``data``, ``samples`` and the ``latent`` of a model that has one; ``cluster_weight_error``, the
        largest difference between shares of the clusters of the samples and the true weights; in nats
        ``log_likelihood``, by importance sampling or on a grid, ``true_log_likelihood`` of the true density, and their
        difference ``log_likelihood_gap``.
        """
        density = self.mixture.density
        test = Batch(*(part.to(model.device) for part in self.splits.test))
        some = Batch(*(part[:CLOUD] for part in test))
        samples = model.draw(test.y[:1], len(some.x), stream(Purpose.EVALUATION, self.seed, 2))[0]
        clouds = {"data": some.x, "samples": samples}
        if hasattr(model.network, "reconstruct"):
            clouds["latent"] = model.network.reconstruct(*some).code
        clusters = {name: find_clusters(points) for name, points in clouds.items()}
        likelihood = float(model.log_likelihood(test, IMPORTANCE).mean())
        true = float(density.log_prob(test.x).mean())
        measures: dict[str, float] = {"components": len(density.weights)}
        for name, found in clusters.items():
            measures |= {f"clusters_{name}": len(found.shares), f"modes_{name}": count_modes(clouds[name])}
        measures |= {
            "cluster_weight_error": shares_error(clusters["samples"].shares, density.weights),
            "log_likelihood": likelihood,
            "true_log_likelihood": true,
            "log_likelihood_gap": true - likelihood,
        }
        from cvae.tasks.point_figures import projection_figure, silhouette_figure

        curves = {name: found.silhouettes for name, found in clusters.items()}
        figures = {
            "silhouettes": silhouette_figure(CLUSTERS, curves, len(density.weights)),
            "tsne": projection_figure({name: clouds[name].cpu() for name in ("data", "samples")}),
        }
        return Report({name: float(value) for name, value in measures.items()}, figures)
