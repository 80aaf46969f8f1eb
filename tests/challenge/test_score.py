"""The score of a file agrees with a plain loop over its rows, whatever the file holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.challenge.score import MEASURES, read_submission, score_file, score_solutions
from cvae.data.layout import challenge_x, to_challenge
from cvae.tasks import Problem

DRAWS = 30
Problems = Callable[..., Problem]


def submission(problem: Problem, conditions: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Solutions of which many pass the gates, grouped by y, in the challenge's layout of x."""
    generator, space = torch.Generator().manual_seed(1), problem.space
    theta = space.sample(conditions, generator).repeat_interleave(DRAWS, 0)
    y = problem.forward(space.decode(theta))
    shifted = space.project(theta + 0.04 * torch.randn(theta.shape, generator=generator))
    x = space.decode(shifted)
    x = (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    # one group that is all valid
    x[:DRAWS] = space.decode(theta[:DRAWS])
    return challenge_x(x), y


def reference(x: np.ndarray, y: np.ndarray, pearson: float, rmse: float) -> dict[str, float]:
    """All measures of y = x0 * x1, row by row and cell by cell; x ``(rows, 1, points, 2)``, y ``(rows, points)``."""
    groups = []
    for start in range(0, len(x), DRAWS):
        valid, misfits, straightness = [], [], []
        cells: list[set[tuple[int, int]]] = [set(), set()]
        curves: list[list[np.ndarray]] = [[], []]
        for row in range(start, start + DRAWS):
            lines = [x[row, 0, :, 0].astype(float), x[row, 0, :, 1].astype(float)]
            misfit = math.sqrt(float(np.mean((lines[0] * lines[1] - y[row]) ** 2)))
            straight = [
                # undefined for a constant line, which counts 0
                sign * pearsonr(np.arange(len(line)), line).statistic if np.ptp(line) > 1e-6 else 0.0
                for sign, line in zip((-1, 1), lines, strict=True)
            ]
            inside = all(line.min() >= -1e-6 and line.max() <= 1 + 1e-6 for line in lines)
            good = inside and misfit < rmse and all(value > pearson for value in straight)
            valid.append(good)
            misfits.append(misfit)
            straightness.append(min(straight))
            for number, line in enumerate(lines if good else []):
                cells[number] |= {(point, min(int(np.float32(value) * 50), 49)) for point, value in enumerate(line)}
                curves[number].append(line)
        coverage = np.mean([len(line) / (50 * x.shape[2]) for line in cells])
        heights = [np.mean(np.max(line, 0) - np.min(line, 0)) if line else 0.0 for line in curves]
        groups.append(
            {
                "score": coverage if all(valid) else 0.0,
                "coverage": coverage,
                "envelope": np.mean(heights),
                "valid": np.mean(valid),
                "rmse": np.mean(misfits),
                "pearson": np.mean(straightness),
            }
        )
    return {name: float(np.mean([group[name] for group in groups])) for name in groups[0]}


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_scores_agree_with_a_loop(problem: Problems, tmp_path: Path, noise: float) -> None:
    product = problem()
    x, y = submission(product, 6, noise)
    torch.save(TensorDataset(x, y[:, 0]), tmp_path / "result.pt")
    scores = score_file(tmp_path / "result.pt", product)
    expected = reference(x.numpy(), y[:, 0].numpy(), 0.9, 0.05)
    expected["relative_rmse"] = expected["rmse"] / product.spread[0]
    assert 0 < expected["score"] < expected["coverage"]
    assert scores.measures == pytest.approx(expected, abs=1e-4)
    assert (scores.conditions, scores.draws) == (6, DRAWS)
    assert (scores.hint is None) == (scores.measures["valid"] == 1)


def test_all_layouts_of_a_submission_score_alike(problem: Problems, tmp_path: Path) -> None:
    birds = problem("cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)", pearson=0.8, rmse=0.1)
    x, y = submission(birds, 2)
    torch.save(TensorDataset(x, to_challenge(y)), tmp_path / "challenge.pt")
    torch.save(TensorDataset(x[:, 0], y), tmp_path / "plain.pt")
    torch.save(list(zip(x, y, strict=True)), tmp_path / "pairs.pt")
    np.savez(tmp_path / "arrays.npz", x=x.numpy(), y=y.numpy())
    found = [score_file(path, birds).measures for path in sorted(tmp_path.iterdir())]
    assert len(found) == 4
    assert all(measures == found[0] for measures in found)
    assert found[0]["score"] > 0


def test_a_draw_that_is_not_finite_is_invalid_and_nothing_else(problem: Problems) -> None:
    product = problem()
    x, y = submission(product, 3)
    x = x[:, 0].transpose(1, 2).unflatten(0, (-1, DRAWS))
    before = score_solutions(product, x, y[::DRAWS])
    x[:, 0, 0, 7], x[2, 3] = torch.nan, torch.inf
    after = score_solutions(product, x, y[::DRAWS])
    assert after.measures["score"] == 0
    assert after.measures["valid"] < before.measures["valid"]
    assert after.measures["rmse"] == after.measures["relative_rmse"] == math.inf
    assert all(math.isfinite(after.measures[name]) for name in MEASURES if "rmse" not in name)


def test_opposite_directions_are_told_with_a_remedy_that_works(problem: Problems) -> None:
    product, swapped = problem(), problem(directions=("rising", "falling"))
    x, y = submission(swapped, 2)
    x, y = x[:, 0].transpose(1, 2).unflatten(0, (-1, DRAWS)), y[::DRAWS]
    wrong = score_solutions(product, x, y)
    assert wrong.measures["valid"] == 0
    assert wrong.hint is not None
    assert "data.directions=[rising,falling]" in wrong.hint
    right = score_solutions(swapped, x, y)
    assert right.hint is None
    assert right.measures["score"] > 0


def test_vectors_are_scored_by_the_same_measures(vector_problem: Problems, tmp_path: Path) -> None:
    product = vector_problem("x0 * x1", bounds=[[0, 1], [0, 1]])
    x, y = submission(product, 4)
    np.savez(tmp_path / "result.npz", x=x.numpy(), y=y[:, 0].numpy())
    scores = score_file(tmp_path / "result.npz", product)
    groups = zip(x.unflatten(0, (4, DRAWS)), y[::DRAWS, 0], strict=True)
    valid = [((draws.prod(1) - one).abs() < 0.05).float() for draws, one in groups]
    assert list(scores.measures) == ["score", "coverage", "envelope", "valid", "rmse", "relative_rmse"]
    assert scores.measures["valid"] == pytest.approx(float(torch.stack(valid).mean()))
    assert 0 < scores.measures["valid"] < 1
    assert (scores.content["conditions"], scores.content["draws"]) == (4, DRAWS)
    assert (scores.hint is None) == (scores.measures["valid"] == 1)


def test_groups_of_another_size(problem: Problems, tmp_path: Path) -> None:
    product = problem()
    x, y = submission(product, 2)
    torch.save(TensorDataset(x, y), tmp_path / "result.pt")
    ten = score_file(tmp_path / "result.pt", product, draws=10)
    assert (ten.conditions, ten.draws) == (6, 10)
    with pytest.raises(ValueError, match="60 rows are no multiple of draws=7"):
        score_file(tmp_path / "result.pt", product, draws=7)
    with pytest.raises(ValueError, match="differs within group 0"):
        score_file(tmp_path / "result.pt", product, draws=60)
    with pytest.raises(ValueError, match="draws is 0"):
        score_file(tmp_path / "result.pt", product, draws=0)


def test_y_may_differ_within_a_group_by_rounding_only(problem: Problems, tmp_path: Path) -> None:
    product = problem()
    x, y = submission(product, 2)
    y[31] += 1e-7
    torch.save(TensorDataset(x, y), tmp_path / "result.pt")
    assert read_submission(tmp_path / "result.pt", product)[1].shape == (2, 1, 50)
    y[33] += 1e-3
    torch.save(TensorDataset(x, y), tmp_path / "result.pt")
    with pytest.raises(ValueError, match=r"group 1 \(rows 30 to 59\), first in row 33"):
        read_submission(tmp_path / "result.pt", product)
    y[2, 0, 0] = torch.nan
    torch.save(TensorDataset(x, y), tmp_path / "result.pt")
    with pytest.raises(ValueError, match="not finite in row 2"):
        read_submission(tmp_path / "result.pt", product)


def test_files_that_are_no_submission_are_refused(problem: Problems, tmp_path: Path) -> None:
    product = problem()
    x, y = submission(product, 1)
    contents = {
        "wrong_x.pt": TensorDataset(x[:, :, :49], y),
        "wrong_y.pt": TensorDataset(x, y[..., :49]),
        "one.pt": TensorDataset(x),
        "class.pt": Path("somewhere"),
        "empty.pt": TensorDataset(x[:0], y[:0]),
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "damaged.pt").write_bytes(b"nothing")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=path.name):
            score_file(path, product)
    with pytest.raises(FileNotFoundError, match="no such file"):
        score_file(tmp_path / "missing.pt", product)
