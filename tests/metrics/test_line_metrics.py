import json
import math
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch

from cvae.metrics import (
    RMSE,
    Coverage,
    Envelope,
    Pearson,
    Score,
    Valid,
    coverage,
    envelope,
    line_metrics,
    pearson,
    raster,
    rmse,
    score,
    valid_share,
)
from cvae.problems import Check

UNIT = (0.0, 1.0)


def checked(x, valid, misfit=None, straightness=None):
    """A check with the given verdict."""
    misfit = torch.zeros(x.shape[:2]) if misfit is None else misfit
    straightness = torch.ones(x.shape[:3]) if straightness is None else straightness
    return Check(misfit, straightness, torch.ones(x.shape[:2], dtype=torch.bool), valid)


@pytest.fixture
def draws(generator):
    """Seven conditions with five draws each, of which about two thirds are valid; the last condition has none."""
    x = torch.rand(7, 5, 2, 6, generator=generator)
    valid = torch.rand(7, 5, generator=generator) < 0.66
    valid[0], valid[6] = True, False
    return x, valid


# --- references: loops over every draw, line, point and row


def loop_coverage(x, valid, low=0.0, high=1.0, rows=50):
    _, lines, points = x.shape
    cells = np.zeros((lines, points, rows), dtype=bool)
    for draw, good in zip(x, valid, strict=True):
        for line in range(lines):
            for point in range(points):
                row = math.floor((draw[line, point] - low) / (high - low) * rows)
                if good:
                    cells[line, point, min(max(row, 0), rows - 1)] = True
    return np.mean([cells[line].mean() for line in range(lines)])


def loop_envelope(x, valid, low=0.0, high=1.0):
    good = x[valid]
    if len(good) == 0:
        return 0.0
    return np.mean([[max(column) - min(column) for column in good[:, line].T] for line in range(x.shape[1])]) / (
        high - low
    )


def test_coverage_is_the_share_of_cells_that_valid_draws_visit(draws):
    x, valid = draws
    expected = [loop_coverage(a.numpy(), b.numpy()) for a, b in zip(x, valid, strict=True)]
    np.testing.assert_allclose(coverage(x, valid, UNIT).numpy(), expected, rtol=1e-6)


def test_coverage_is_measured_on_the_given_range(draws):
    x, valid = draws
    found = coverage(5 * x - 2, valid, (-2.0, 3.0), rows=8)
    expected = [loop_coverage(a, b.numpy(), -2, 3, 8) for a, b in zip(5 * x.double().numpy() - 2, valid, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "row"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.99, 3), (1.0, 3), (1 + 1e-6, 3), (-1e-6, 0)]
)
def test_a_value_falls_in_its_row_and_the_top_in_the_last(value, row):
    cells = raster(torch.full((1, 1, 1, 1), value), torch.ones(1, 1, dtype=torch.bool), UNIT, rows=4)
    assert cells.shape == (1, 1, 1, 4)
    assert cells[0, 0, 0].tolist() == [n == row for n in range(4)]


def test_envelope_is_the_mean_height_of_the_band_of_valid_draws(draws):
    x, valid = draws
    expected = [loop_envelope(a.numpy(), b.numpy()) for a, b in zip(x, valid, strict=True)]
    np.testing.assert_allclose(envelope(x, valid, UNIT).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(envelope(5 * x - 2, valid, (-2.0, 3.0)).numpy(), expected, rtol=1e-5)


def test_score_is_coverage_where_all_draws_are_valid_and_zero_elsewhere(draws):
    x, valid = draws
    found = score(x, valid, UNIT)
    assert found[0].item() == pytest.approx(loop_coverage(x[0].numpy(), [True] * 5))
    for n in range(1, 7):
        assert (found[n] > 0) == all(valid[n].tolist())


def test_shares_and_means(generator):
    misfit, straightness = torch.rand(3, 4, generator=generator), torch.rand(3, 4, 2, generator=generator)
    valid = misfit < 0.5
    for n in range(3):
        assert valid_share(valid)[n].item() == pytest.approx(sum(valid[n].tolist()) / 4)
        assert rmse(misfit)[n].item() == pytest.approx(sum(misfit[n].tolist()) / 4)
        assert pearson(straightness)[n].item() == pytest.approx(sum(min(s) for s in straightness[n].tolist()) / 4)


# --- what each measure is there to notice


@pytest.fixture
def family(problem):
    """A y of the product problem with solutions (c x0, x1 / c), and its problem."""
    problem = problem()
    ends = torch.tensor([[0.6, 0.3], [0.4, 0.6]])
    y = problem.forward(problem.geometry.to_lines(ends))[None]

    def draw(low, high, count=20):
        c = torch.linspace(low, high, count)[:, None]
        return problem.geometry.to_lines(torch.stack([c * ends[0], ends[1] / c], dim=1))[None]

    return problem, y, draw


def measures(problem, x, y):
    found = line_metrics(problem)
    found.update(x, problem.check(x, y))
    return {name: value.item() for name, value in found.compute().items()}


def test_true_solutions_are_valid_and_cover_much(family):
    problem, y, draw = family
    found = measures(problem, draw(0.6, 1.6), y)
    assert found["valid"] == 1
    assert found["rmse"] < 1e-6
    assert found["pearson"] > 0.999
    assert found["score"] == found["coverage"] > 0.2
    assert found["envelope"] > 0.3


def test_draws_that_are_too_alike_are_valid_and_cover_little(family):
    problem, y, draw = family
    wide, narrow = (measures(problem, draw(*bounds), y) for bounds in ((0.6, 1.6), (0.99, 1.01)))
    assert narrow["valid"] == 1
    assert narrow["coverage"] < 0.2 * wide["coverage"]
    assert narrow["envelope"] < 0.05 * wide["envelope"]


def test_copies_of_one_solution_cover_a_line(family):
    problem, y, draw = family
    found = measures(problem, draw(1, 1), y)
    assert found["coverage"] == pytest.approx(1 / 50)
    assert found["envelope"] == 0


def test_draws_that_miss_y_count_for_nothing(family):
    problem, y, draw = family
    found = measures(problem, draw(0.6, 1.6), y + 0.06)
    assert found["rmse"] == pytest.approx(0.06, rel=1e-4)
    assert found["valid"] == found["coverage"] == found["score"] == found["envelope"] == 0


def test_a_single_draw_that_misses_costs_the_score_and_not_the_coverage(family):
    problem, y, draw = family
    x = draw(0.6, 1.6)
    x[0, -1, 1] += 0.3
    found = measures(problem, x, y)
    assert found["valid"] == pytest.approx(19 / 20)
    assert found["score"] == 0
    assert found["coverage"] == pytest.approx(loop_coverage(x[0, :-1].numpy(), [True] * 19), abs=0.01)


def test_bent_lines_and_wrong_slopes_show_in_the_straightness(family, generator):
    problem, y, draw = family
    x = draw(0.6, 1.6)
    assert measures(problem, x + 0.1 * torch.randn(x.shape, generator=generator), y)["pearson"] < 0.8
    assert measures(problem, x.flip(-1), y.flip(-1))["pearson"] < -0.999


def test_draws_out_of_range_count_for_nothing(family):
    problem, y, draw = family
    found = measures(problem, draw(2.0, 2.5), y)
    assert found["rmse"] < 1e-6
    assert found["valid"] == found["coverage"] == 0


# --- edges


def test_without_a_valid_draw_nothing_is_covered():
    x, valid = torch.full((1, 3, 2, 5), torch.nan), torch.zeros(1, 3, dtype=torch.bool)
    assert coverage(x, valid, UNIT) == 0
    assert envelope(x, valid, UNIT) == 0
    assert score(x, valid, UNIT) == 0


def test_one_draw_has_no_envelope(generator):
    x = torch.rand(1, 1, 2, 5, generator=generator)
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert envelope(x, valid, UNIT) == 0
    assert coverage(x, valid, UNIT).item() == pytest.approx(1 / 50)


def test_a_draw_that_is_not_finite_leaves_the_valid_ones_as_they_are(draws):
    x, valid = draws
    valid[:, 2] = False
    spoiled = x.clone()
    spoiled[:, 2] = torch.tensor([torch.nan, torch.inf, -torch.inf] * 2)
    for measure in (coverage, envelope):
        assert torch.equal(measure(spoiled, valid, UNIT), measure(x, valid, UNIT))


def test_constant_and_broken_lines_have_straightness_zero(problem):
    problem = problem()
    x = torch.full((1, 1, 2, 50), 0.5)
    assert measures(problem, x, problem.forward(x[:, 0]))["pearson"] == 0
    broken = measures(problem, x * torch.nan, problem.forward(x[:, 0]))
    assert broken["pearson"] == broken["valid"] == 0
    assert broken["rmse"] == math.inf


# --- metrics


METRICS = {
    "coverage": lambda: Coverage(UNIT),
    "envelope": lambda: Envelope(UNIT),
    "score": lambda: Score(UNIT),
    "valid": Valid,
    "rmse": RMSE,
    "pearson": Pearson,
}


def loop_measure(name, x, check):
    """The mean over conditions, by loops."""
    x, valid = x.numpy(), check.valid.numpy()
    each = {
        "coverage": lambda n: loop_coverage(x[n], valid[n]),
        "envelope": lambda n: loop_envelope(x[n], valid[n]),
        "score": lambda n: loop_coverage(x[n], valid[n]) if all(valid[n]) else 0.0,
        "valid": lambda n: sum(valid[n]) / len(valid[n]),
        "rmse": lambda n: sum(check.misfit[n].tolist()) / len(x[n]),
        "pearson": lambda n: sum(min(lines) for lines in check.straightness[n].tolist()) / len(x[n]),
    }[name]
    return np.mean([each(n) for n in range(len(x))])


@pytest.fixture
def check(draws, generator):
    x, valid = draws
    return checked(x, valid, torch.rand(7, 5, generator=generator), torch.rand(7, 5, 2, generator=generator))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 6], [1] * 7])
def test_accumulation_over_batches_is_the_mean_over_conditions(name, sizes, draws, check):
    metric = METRICS[name]()
    for index in torch.arange(7).split(sizes):
        metric.update(draws[0][index], check.at(index))
    assert metric.compute().item() == pytest.approx(loop_measure(name, draws[0], check), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_reset_forgets(name, draws, check):
    metric = METRICS[name]()
    metric.update(draws[0], check)
    metric.reset()
    metric.update(draws[0][:1], check.at(slice(1)))
    assert metric.compute().item() == pytest.approx(loop_measure(name, draws[0][:1], check.at(slice(1))), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_without_conditions_there_is_no_mean(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*before the ``update`` method.*")
        assert METRICS[name]().compute().isnan()


def test_a_check_of_other_draws_is_refused(draws, check):
    with pytest.raises(ValueError, match=r"\(7, 4, 2, 6\) draws do not go with a check of \(7, 5\)"):
        Coverage(UNIT).update(draws[0][:, :4], check)


def test_the_collection_measures_everything_at_once(problem, draws, check):
    found = line_metrics(problem())
    for index in torch.arange(7).split(2):
        found.update(draws[0][index], check.at(index))
    expected = {name: pytest.approx(loop_measure(name, draws[0], check), rel=1e-6) for name in METRICS}
    assert {name: value.item() for name, value in found.compute().items()} == expected


WORKER = """
import json, sys
import torch
from torch import distributed
from cvae.metrics import ActiveUnits, line_metrics
from cvae.problems import Check, Problem

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
x, misfit, straightness, in_range, valid, means = torch.load(f"{folder}/draws.pt")
check = Check(misfit, straightness, in_range, valid)
problem = Problem.from_config(6, ["falling", "rising"], [0, 1], ["x0"], {"pearson": 0.9, "rmse": 0.05})
metrics, active = line_metrics(problem), ActiveUnits(means.shape[1])
# shares of different sizes: 5 and 2 conditions
share = slice(0, 5) if rank == 0 else slice(5, 7)
metrics.update(x[share], check.at(share))
active.update(means[share])
found = {name: value.item() for name, value in metrics.compute().items()}
found["active"] = active.compute().item()
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump(found, file)
distributed.destroy_process_group()
"""


def test_two_processes_measure_what_one_does(tmp_path, draws, check):
    # constant within each share, so that only both together show the second dimension to vary
    means = torch.zeros(7, 2)
    means[:5, 1] = 1
    torch.save((draws[0], *check, means), tmp_path / "draws.pt")
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER))
    command = [sys.executable, str(tmp_path / "worker.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    expected = {name: pytest.approx(loop_measure(name, draws[0], check), rel=1e-6) for name in METRICS} | {"active": 1}
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
