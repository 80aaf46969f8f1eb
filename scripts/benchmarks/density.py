"""Density baselines beside trained models, on the same pairs: ``python scripts/benchmarks/density.py``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import hydra
import torch
from common import Row, call, command_line, footer, markdown, show, trained
from hydra.core.hydra_config import HydraConfig
from torch import Tensor

from cvae.baselines import (
    AcceptanceRejection,
    GaussianDensity,
    KernelDensity,
    MetropolisHastings,
    MixtureDensity,
)
from cvae.baselines.densities import Density
from cvae.baselines.monte_carlo import LogDensity
from cvae.config import plain
from cvae.data import Batch, SeaTemperatureData
from cvae.data.pairs import PairData
from cvae.data.sea_temperature import TrainingDays
from cvae.errors import UserError
from cvae.metrics import sample_distances
from cvae.metrics.dependence import kendall_error
from cvae.metrics.distances import median_distance, random_directions, sliced_wasserstein, squared_mmd
from cvae.models import EnergyModel, Generative, Sampler
from cvae.runs.settle import settle
from cvae.runs.train import build
from cvae.seeds import Purpose, stream
from cvae.tasks import GaussianMixture

#: projections of the sliced Wasserstein distance
DIRECTIONS = 200
#: samples of the latent for the likelihood of a point, or points of a grid along each axis
SAMPLES = 400


class Method(NamedTuple):
    """What stands in a row.

    Attributes:
        sampler: draws x given y.
        fit_s: seconds that it took to fit.
        log_prob: ``log p(x|y)`` in nats, ``(batch,)``, where it is known.
    """

    sampler: Sampler
    fit_s: float | None = None
    log_prob: LogDensity | None = None


class TrainingPoints:
    """Draws from the training points, whatever the condition: a sample of the same distribution.

    Args:
        train: the training pairs.
    """

    def __init__(self, train: Batch) -> None:
        self.train = train

    def draw(self, y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        """Points ``(batch, draws, *x_shape)``; none comes twice before all have come once."""
        number, count = len(self.train.x), len(y) * draws
        places = torch.randperm(number, generator=generator).repeat(-(-count // number))[:count]
        return self.train.x[places].unflatten(0, (len(y), draws))


def density(
    models: dict[str, dict[str, list[str]]],
    seeds: list[int],
    points: int,
    draws: int,
    overrides: list[str],
    out: str,
) -> None:
    """Print one table for each seed, then their mean and standard deviation as Markdown.

    The arguments are the entries of ``conf/density.yaml``; ``data=`` and its entries go to every training.

    Raises:
        UserError: for data without models, or a config that makes no sense.
    """
    chosen = HydraConfig.get()
    data = chosen.runtime.choices["data"]
    own = [word for word in chosen.overrides.task if word.startswith(("data=", "data."))]
    if data not in models:
        raise UserError(f"data is {data}; choose from {', '.join(models)}, or name its models in models.{data}.")
    if not seeds or points < 20 or draws < 2:
        raise UserError(f"seeds, points, draws are {seeds}, {points}, {draws}; give at least one seed, 20 and 2.")
    tables = []
    for seed in seeds:
        found: dict[str, Method] = {}
        for name, words in models[data].items():
            cfg = hydra.compose("train", [*words, *own, *overrides, f"seed={seed}"])
            model, seconds = trained(cfg, Path(out) / f"{data}-{name.replace(' ', '_')}-{seed}")
            found[name] = Method(model, seconds, log_prob_of(model))
        pairs: PairData = build(settle(cfg))[0]
        methods = baselines(pairs, seed) | found
        methods |= monte_carlo(methods, pairs.splits.train)
        test = Batch(*(part[:points] for part in pairs.splits.test))
        tables.append(rows_of(methods, test, draws, seed))
        show(tables[-1], f"{data}, seed {seed}")
    print(markdown(averaged(tables)))
    print(f"seeds {', '.join(map(str, seeds))}: mean ± standard deviation; {footer(len(test.x), 'test pairs')}")


def baselines(data: PairData, seed: int) -> dict[str, Method]:
    """Real against real, then the baselines fitted to the training pairs, by name."""
    train = data.splits.train
    if isinstance(data, SeaTemperatureData):
        # in the order of time, so that neighbouring days are in one block of a cross-validation
        train = Batch(*(part[train.y[:, 2].argsort()] for part in train))
    real: Sampler = TrainingDays(train) if isinstance(data, SeaTemperatureData) else TrainingPoints(train)
    truth = data.task.density.log_prob if isinstance(data.task, GaussianMixture) else None
    found = {"real against real": Method(real, None, None if truth is None else lambda x, y: truth(x))}
    makers: dict[str, Callable[[], Density]] = {
        "Gaussian": lambda: GaussianDensity(train),
        "mixture by EM": lambda: MixtureDensity(train, seed=seed),
        "kernel density": lambda: KernelDensity(train),
    }
    for name, make in makers.items():
        started = time.perf_counter()
        fitted = make()
        found[name] = Method(fitted, time.perf_counter() - started, fitted.log_prob)
    return found


def monte_carlo(methods: Mapping[str, Method], train: Batch) -> dict[str, Method]:
    """Acceptance-rejection and Metropolis-Hastings of the mixture and of energy models; nothing with conditions, each
    of which would need a chain of its own."""
    if train.y.shape[1:].numel():
        return {}
    targets: dict[str, LogDensity] = {}
    for name, (sampler, _, log_prob) in methods.items():
        if isinstance(sampler, EnergyModel):
            targets[name] = partial(_minus_energy, sampler.network)
        elif log_prob is not None and type(sampler) is MixtureDensity:
            targets[name] = log_prob
    kinds = {"acceptance-rejection": AcceptanceRejection, "Metropolis-Hastings": MetropolisHastings}
    return {
        f"{name}: {kind}": Method(make(target, train.x))
        for name, target in targets.items()
        for kind, make in kinds.items()
    }


def _minus_energy(network: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return -network(x)


def log_prob_of(model: Generative) -> LogDensity:
    """``log p(x|y)`` of a trained model in nats; of a CVAE a bound by importance sampling."""
    return lambda x, y: model.log_likelihood(Batch(x, y), SAMPLES)


def rows_of(methods: Mapping[str, Method], test: Batch, draws: int, seed: int) -> list[Row]:
    """One row for each method; each draws from streams of its own."""
    rows = []
    for number, (name, method) in enumerate(methods.items()):
        generator = stream(Purpose.BASELINE, seed, 1, number)
        started = time.perf_counter()
        measures, sample = drawn(method.sampler, test, draws, generator)
        seconds = time.perf_counter() - started
        row: Row = {"method": name, **distances(sample, test.x, seed)}
        row["log_likelihood"] = method.log_prob and float(method.log_prob(*test).mean())
        row |= measures | {"fit_s": method.fit_s, "draw_s": seconds}
        rows.append(row | reported(method.sampler))
    return rows


def drawn(sampler: Sampler, test: Batch, draws: int, generator: torch.Generator) -> tuple[dict[str, float], Tensor]:
    """As many draws as there are test pairs, ``(count, *x_shape)``; with conditions one for each, and measures of
    several draws for each."""
    if test.y.shape[1:].numel() == 0:
        return {}, sampler.draw(test.y[:1], len(test.x), generator)[0]
    x = sampler.draw(test.y, draws, generator)
    return sample_distances(x, test.x), x[:, 0]


def distances(sample: Tensor, points: Tensor, seed: int) -> dict[str, float]:
    """Of draws ``(count, dimensions)`` to test points: ``sliced_wasserstein`` in units of x, ``mmd``, the root of the
    squared maximum mean discrepancy with the median distance as unit, and ``kendall_error``; without draws of chains
    that diverged.

    Not those of :func:`cvae.metrics.points.distances_to_points`, which are means over parts of the points, with other
    directions and the unit of the first points.
    """
    sample = sample[sample.isfinite().all(1)]
    directions = random_directions(DIRECTIONS, points.shape[1], stream(Purpose.BASELINE, seed, 2))
    return {
        "sliced_wasserstein": float(sliced_wasserstein(sample, points, directions)),
        "mmd": float(squared_mmd(sample, points, median_distance(points)).sqrt()),
        "kendall_error": kendall_error(sample, points),
    }


def reported(sampler: Sampler) -> Row:
    """What a fit has chosen, and what a Monte Carlo sampler tells of its run."""
    if isinstance(sampler, AcceptanceRejection | MetropolisHastings):
        return dict(sampler.reports[0]._asdict())
    chosen = {MixtureDensity: ("components",), KernelDensity: ("kernel", "bandwidth")}
    return {name: getattr(sampler, name) for name in chosen.get(type(sampler), ())}


def averaged(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """Each row's mean over the tables, with the standard deviation where there are several."""
    names = list(dict.fromkeys(name for rows in tables for row in rows for name in row))
    return [{name: _summary([row.get(name) for row in rows]) for name in names} for rows in zip(*tables, strict=True)]


def _summary(values: Sequence[Any]) -> Any:
    if len(values) == 1 or None in values:
        return values[0]
    if isinstance(values[0], str):
        return ", ".join(dict.fromkeys(values))
    return f"{mean(values):.4g} ± {stdev(values):.2g}"


@hydra.main(version_base="1.3", config_path="../../conf", config_name="density")
def main(cfg: Any) -> None:
    """Run with the settings of ``conf/density.yaml``."""
    with command_line():
        call(density, {name: plain(cfg[name]) for name in cfg if name != "data"})


if __name__ == "__main__":
    main()
