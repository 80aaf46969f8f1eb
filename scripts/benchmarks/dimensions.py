"""How densities degrade with the dimension of their points: ``python scripts/benchmarks/dimensions.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import hydra
import torch
from common import Row, call, command_line, footer, markdown, show, trained
from density import Method, TrainingPoints, distances, log_prob_of

from cvae.baselines import KernelDensity, MixtureDensity
from cvae.config import plain
from cvae.data import Batch, GaussianMixtureData
from cvae.errors import UserError
from cvae.files import replacing
from cvae.runs.settle import settle
from cvae.runs.train import build
from cvae.seeds import Purpose, stream
from cvae.tasks.figures import new_figure

#: what is measured, and what the figure says of it
MEASURES = {
    "gap": "log-likelihood below the truth,\nnats per dimension",
    "sliced_wasserstein_ratio": "sliced Wasserstein,\ntimes real against real",
    "mmd_ratio": "maximum mean discrepancy,\ntimes real against real",
}
#: colours that colour-blind readers can tell apart (Okabe & Ito 2008), and markers
STYLES = {"kernel density": ("#D55E00", "s"), "mixture by EM": ("#009E73", "^"), "CVAE": ("#0072B2", "o")}
#: samples of each method, and of the truth, whose mean distance to the test points is shown
SAMPLES = 5


def dimensions(
    dimensions: list[int],
    points: int,
    test: int,
    components: int,
    seeds: list[int],
    overrides: list[str],
    figure: str | None,
    out: str,
) -> None:
    """Print one row for each dimension, seed and method, then the mean over the seeds as Markdown, and draw the figure.

    The arguments are the entries of ``conf/dimensions.yaml``.

    Raises:
        UserError: for a config that makes no sense.
    """
    if not dimensions or not seeds or points < 20:
        raise UserError(f"dimensions, seeds, points are {dimensions}, {seeds}, {points}; give one each, and 20 points.")
    rows: list[Row] = []
    for dimension in dimensions:
        for seed in seeds:
            words = [
                *("experiment=mixture", f"data.dimensions={dimension}", f"model.latent_dim={dimension}"),
                *(f"data.components={components}", f"data.train={points - points // 10}"),
                *(f"data.validation={points // 10}", f"data.test={test}"),
                *("callbacks.figures=null", "test=false", *overrides, f"seed={seed}"),
            ]
            found = measured(hydra.compose("train", words), Path(out) / f"{dimension}-{seed}", seed)
            rows += [{"dimension": dimension, "seed": seed, **row} for row in found]
        show(rows, f"{points} points of a mixture of {components} Gaussians")
    means = [
        {"dimension": dimension, "method": method, **mean_of(rows, dimension, method)}
        for dimension in dimensions
        for method in STYLES
    ]
    print(markdown(means))
    print(f"seeds {', '.join(map(str, seeds))}, mean; {footer(test, 'test points')}")
    if figure is not None:
        with replacing(figure) as temporary:
            picture(rows, dimensions).savefig(temporary, dpi=110)


def measured(cfg: Any, folder: Path, seed: int) -> list[Row]:
    """One row for each method, all fitted to the same points."""
    model, _ = trained(cfg, folder)
    data = build(settle(cfg))[0]
    assert isinstance(data, GaussianMixtureData)
    splits, truth = data.splits, data.mixture.density
    known = Batch(*(torch.cat(parts) for parts in zip(splits.train, splits.validation, strict=True)))
    test, dimension = splits.test, splits.test.x.shape[1]
    generator = stream(Purpose.BASELINE, seed, 3)
    fresh = truth.sample(SAMPLES * len(test.x), generator)
    kernels, mixture = KernelDensity(known), MixtureDensity(known, seed=seed)
    methods = {
        "real": Method(TrainingPoints(Batch(fresh, fresh[:, :0])), log_prob=lambda x, y: truth.log_prob(x)),
        "kernel density": Method(kernels, log_prob=kernels.log_prob),
        "mixture by EM": Method(mixture, log_prob=mixture.log_prob),
        "CVAE": Method(model, log_prob=log_prob_of(model)),
    }
    rows: list[Row] = []
    for name, (sampler, _, log_prob) in methods.items():
        assert log_prob is not None
        samples = sampler.draw(test.y[:1], SAMPLES * len(test.x), generator)[0].split(len(test.x))
        found = [distances(sample, test.x, seed) for sample in samples]
        means = {measure: mean(one[measure] for one in found) for measure in ("sliced_wasserstein", "mmd")}
        rows.append({"method": name, "log_likelihood": float(log_prob(*test).mean()), **means})
    real, *others = rows
    return [
        {
            "method": row["method"],
            "gap": (real["log_likelihood"] - row["log_likelihood"]) / dimension,
            "sliced_wasserstein_ratio": row["sliced_wasserstein"] / real["sliced_wasserstein"],
            "mmd_ratio": row["mmd"] / real["mmd"],
        }
        for row in others
    ]


def mean_of(rows: Sequence[Row], dimension: int, method: str) -> Row:
    """Mean of the measures over the seeds."""
    own = [row for row in rows if (row["dimension"], row["method"]) == (dimension, method)]
    return {name: mean(row[name] for row in own) for name in MEASURES}


def picture(rows: Sequence[Row], dimensions: Sequence[int]) -> Any:
    """One panel for each measure against the dimension; a line joins the means, and bars reach over the seeds."""
    figure = new_figure(10.5, 3.4)
    for axis, (measure, label) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        for method, (colour, marker) in STYLES.items():
            values = [
                [row[measure] for row in rows if (row["dimension"], row["method"]) == (dimension, method)]
                for dimension in dimensions
            ]
            centres = [mean(each) for each in values]
            reach = [
                [centre - min(each) for centre, each in zip(centres, values, strict=True)],
                [max(each) - centre for centre, each in zip(centres, values, strict=True)],
            ]
            axis.errorbar(dimensions, centres, yerr=reach, color=colour, marker=marker, capsize=3, label=method)
        axis.set(xscale="log", xlabel="dimension", title=label)
        axis.title.set_fontsize(9)
        axis.set_xticks(dimensions, [str(dimension) for dimension in dimensions])
        axis.minorticks_off()
        axis.axhline(0 if measure == "gap" else 1, color="0.6", linewidth=1, linestyle=":")
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    return figure


@hydra.main(version_base="1.3", config_path="../../conf", config_name="dimensions")
def main(cfg: Any) -> None:
    """Run with the settings of ``conf/dimensions.yaml``."""
    with command_line():
        call(dimensions, plain(cfg))


if __name__ == "__main__":
    main()
