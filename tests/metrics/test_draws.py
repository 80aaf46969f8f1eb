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
    Check,
    Coverage,
    Drawn,
    Envelope,
    Pearson,
    RelativeRMSE,
    Score,
    Valid,
    coverage,
    envelope,
    hit_bins,
    pearson,
    rmse,
    score,
    valid_share,
)
from cvae.metrics.draws import bins_of, compact_bins


@pytest.fixture
def draws(generator):
    """Coordinates of seven conditions with five draws each, of which about two thirds are valid; the last condition has
    none."""
    u = torch.rand(7, 5, 12, generator=generator)
    valid = torch.rand(7, 5, generator=generator) < 0.66
    valid[0], valid[6] = True, False
    return u, valid


# --- references: loops over every draw, coordinate and bin


def loop_coverage(u, valid, bins=50):
    cells = np.zeros((u.shape[1], bins), dtype=bool)
    for draw, good in zip(u, valid, strict=True):
        for coordinate, share in enumerate(draw):
            if good:
                cells[coordinate, min(max(math.floor(share * bins), 0), bins - 1)] = True
    return cells.mean()


def loop_envelope(u, valid):
    good = u[valid]
    return np.mean([max(column) - min(column) for column in good.T]) if len(good) else 0.0


def test_coverage_is_the_share_of_bins_that_valid_draws_hit(draws):
    u, valid = draws
    expected = [loop_coverage(a.numpy(), b.numpy()) for a, b in zip(u, valid, strict=True)]
    np.testing.assert_allclose(coverage(u, valid).numpy(), expected, rtol=1e-6)


def test_coverage_is_that_of_histograms_of_numpy(draws):
    u, valid = draws
    for row in range(7):
        hits = [np.histogram(column, bins=8, range=(0, 1))[0] > 0 for column in u[row][valid[row]].numpy().T]
        assert coverage(u, valid, bins=8)[row].item() == pytest.approx(np.mean(hits))


def test_coverage_is_measured_on_the_range_of_the_space(problem, draws):
    u, valid = draws
    space = problem(points=6, range=(-2.0, 3.0)).space
    x = (5 * u.double() - 2).unflatten(-1, (2, 6))
    found = coverage(space.coordinates(x), valid, bins=8)
    expected = [loop_coverage((a.flatten(1).numpy() + 2) / 5, b.numpy(), 8) for a, b in zip(x, valid, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "bin_of"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.99, 3), (1.0, 3), (1 + 1e-6, 3), (-1e-6, 0)]
)
def test_a_value_falls_in_its_bin_and_the_top_in_the_last(value, bin_of):
    cells = hit_bins(torch.full((1, 1, 1), value), torch.ones(1, 1, dtype=torch.bool), bins=4)
    assert cells.shape == (1, 1, 4)
    assert cells[0, 0].tolist() == [n == bin_of for n in range(4)]


@pytest.mark.parametrize("bins", [8, 256, 300])
def test_small_integers_hold_every_bin(bins, draws):
    u = draws[0]
    assert torch.equal(compact_bins(u, bins).long(), bins_of(u, bins))
    assert bins_of(torch.ones(1), bins) == bins - 1


def test_envelope_is_the_mean_distance_of_the_outermost_valid_draws(draws):
    u, valid = draws
    expected = [loop_envelope(a.numpy(), b.numpy()) for a, b in zip(u, valid, strict=True)]
    np.testing.assert_allclose(envelope(u, valid).numpy(), expected, rtol=1e-5)


def test_score_is_coverage_where_all_draws_are_valid_and_zero_elsewhere(draws):
    u, valid = draws
    found = score(u, valid)
    assert found[0].item() == pytest.approx(loop_coverage(u[0].numpy(), [True] * 5))
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
    y = problem.forward(problem.space.decode(ends.flatten()))[None]

    def draw(low, high, count=20):
        c = torch.linspace(low, high, count)[:, None]
        return problem.space.decode(torch.cat([c * ends[0], ends[1] / c], dim=1))[None]

    return problem, y, draw


def measures(problem, x, y):
    found = problem.measures()
    found.update(problem.drawn(torch.arange(len(x)), x, y))
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
    assert found["coverage"] == pytest.approx(loop_coverage(x[0, :-1].flatten(1).numpy(), [True] * 19), abs=0.01)


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
    u, valid = torch.full((1, 3, 10), torch.nan), torch.zeros(1, 3, dtype=torch.bool)
    assert coverage(u, valid) == 0
    assert envelope(u, valid) == 0
    assert score(u, valid) == 0


def test_one_draw_has_no_envelope(generator):
    u = torch.rand(1, 1, 10, generator=generator)
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert envelope(u, valid) == 0
    assert coverage(u, valid).item() == pytest.approx(1 / 50)


def test_a_draw_that_is_not_finite_leaves_the_valid_ones_as_they_are(draws):
    u, valid = draws
    valid[:, 2] = False
    spoiled = u.clone()
    spoiled[:, 2] = torch.tensor([torch.nan, torch.inf, -torch.inf] * 4)
    for measure in (coverage, envelope):
        assert torch.equal(measure(spoiled, valid), measure(u, valid))


def test_constant_and_broken_lines_have_straightness_zero(problem):
    problem = problem()
    x = torch.full((1, 1, 2, 50), 0.5)
    assert measures(problem, x, problem.forward(x[:, 0]))["pearson"] == 0
    broken = measures(problem, x * torch.nan, problem.forward(x[:, 0]))
    assert broken["pearson"] == broken["valid"] == 0
    assert broken["rmse"] == math.inf


# --- metrics


def flat(x):
    """Coordinates of lines with values in [0, 1]."""
    return x.flatten(-2)


METRICS = {
    "coverage": lambda: Coverage(flat),
    "envelope": lambda: Envelope(flat),
    "score": lambda: Score(flat),
    "valid": Valid,
    "rmse": RMSE,
    "relative_rmse": RelativeRMSE,
    "pearson": Pearson,
}


def loop_measure(name, drawn):
    """The mean over conditions, by loops."""
    u, check = flat(drawn.x).numpy(), drawn.check
    valid = check.valid.numpy()
    each = {
        "coverage": lambda n: loop_coverage(u[n], valid[n]),
        "envelope": lambda n: loop_envelope(u[n], valid[n]),
        "score": lambda n: loop_coverage(u[n], valid[n]) if all(valid[n]) else 0.0,
        "valid": lambda n: sum(valid[n]) / len(valid[n]),
        "rmse": lambda n: sum(check.misfit[n].tolist()) / len(u[n]),
        "relative_rmse": lambda n: sum(check.relative[n].tolist()) / len(u[n]),
        "pearson": lambda n: sum(min(lines) for lines in check.straightness[n].tolist()) / len(u[n]),
    }[name]
    return np.mean([each(n) for n in range(len(u))])


def part(drawn, index):
    return Drawn(drawn.which[index], drawn.x[index], drawn.y[index], drawn.check.at(index))


@pytest.fixture
def drawn(draws, generator):
    """The draws above as two lines of six points, with a made-up verdict."""
    u, valid = draws
    misfit, straightness = torch.rand(7, 5, generator=generator), torch.rand(7, 5, 2, generator=generator)
    relative = torch.rand(7, 5, generator=generator)
    check = Check(misfit, torch.ones(7, 5, dtype=torch.bool), valid, straightness, relative)
    return Drawn(torch.arange(7), u.unflatten(-1, (2, 6)), torch.zeros(7, 1, 6), check)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 6], [1] * 7])
def test_accumulation_over_batches_is_the_mean_over_conditions(name, sizes, drawn):
    metric = METRICS[name]()
    for index in torch.arange(7).split(sizes):
        metric.update(part(drawn, index))
    assert metric.compute().item() == pytest.approx(loop_measure(name, drawn), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_a_reset_forgets(name, drawn):
    metric = METRICS[name]()
    metric.update(drawn)
    metric.reset()
    metric.update(part(drawn, slice(1)))
    assert metric.compute().item() == pytest.approx(loop_measure(name, part(drawn, slice(1))), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_without_conditions_there_is_no_mean(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*before the ``update`` method.*")
        assert METRICS[name]().compute().isnan()


def test_a_check_of_other_draws_is_refused(drawn):
    with pytest.raises(ValueError, match=r"\(7, 4, 2, 6\) draws do not go with a check of \(7, 5\)"):
        Coverage(flat).update(drawn._replace(x=drawn.x[:, :4]))


def test_the_collection_measures_everything_at_once(problem, drawn):
    found = problem(points=6).measures()
    for index in torch.arange(7).split(2):
        found.update(part(drawn, index))
    expected = {name: pytest.approx(loop_measure(name, drawn), rel=1e-6) for name in METRICS}
    assert {name: value.item() for name, value in found.compute().items()} == expected


# --- vectors


def test_measures_of_vectors_are_those_of_numpy(vector_problem, generator):
    bounds = np.array([[-1.0, 3.0], [0.0, 1000.0], [2.0, 2.5]])
    problem = vector_problem("x0 + x1 / 1000 + x2", bounds=bounds.tolist(), rmse=0.5)
    x = problem.space.sample(120, generator).unflatten(0, (3, 40))
    y = problem.forward(x[:, 0])
    found = measures(problem, x, y)
    values = x.double().numpy()
    misfit = np.abs(values[..., 0] + values[..., 1] / 1000 + values[..., 2] - y.double().numpy())
    covered, spread, shares = [], [], (values - bounds[:, 0]) / (bounds[:, 1] - bounds[:, 0])
    for row in range(3):
        good = shares[row][misfit[row] < 0.5]
        assert 1 < len(good) < 40
        hits = [len(np.unique(np.floor(column * 50))) / 50 for column in good.T]
        covered.append(np.mean(hits))
        spread.append(np.mean(good.max(0) - good.min(0)))
    expected = {
        "coverage": np.mean(covered),
        "envelope": np.mean(spread),
        "score": 0,
        "valid": np.mean(misfit < 0.5),
        "rmse": np.mean(misfit),
        "relative_rmse": np.mean(misfit) / problem.spread[0],
    }
    assert found == pytest.approx(expected, rel=1e-5)


def test_vectors_that_all_solve_have_a_score(vector_problem):
    problem = vector_problem("x0 + x1", bounds=[[0, 1], [0, 100]])
    x0 = torch.linspace(0.0, 0.99, 12)
    found = measures(problem, torch.stack([x0, 20 - x0], dim=-1)[None], torch.tensor([[20.0]]))
    # each value of x0 in a bin of its own, and those of x1 between 19.01 and 20 in two of width 2
    assert found["score"] == found["coverage"] == pytest.approx((12 / 50 + 2 / 50) / 2)
    assert found["envelope"] == pytest.approx((0.99 + 0.0099) / 2, rel=1e-4)


# --- several processes


WORKER = """
import json, sys
import torch
from torch import distributed
from cvae.metrics import ActiveUnits, Check, Drawn
from cvae.tasks import line_problem

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
which, x, y, *fields, means = torch.load(f"{folder}/draws.pt", weights_only=True)
check = Check(*fields)
problem = line_problem(6, ["falling", "rising"], [0, 1], ["x0"], {"pearson": 0.9, "rmse": 0.05})
metrics, active = problem.measures(), ActiveUnits(means.shape[1])
# shares of different sizes: 5 and 2 conditions
share = slice(0, 5) if rank == 0 else slice(5, 7)
metrics.update(Drawn(which[share], x[share], y[share], check.at(share)))
active.update(means[share])
found = {name: value.item() for name, value in metrics.compute().items()}
found["active"] = active.compute().item()
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump(found, file)
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path, drawn):
    # constant within each share, so that only both together show the second dimension to vary
    means = torch.zeros(7, 2)
    means[:5, 1] = 1
    torch.save((*drawn[:3], *drawn.check, means), tmp_path / "draws.pt")
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER))
    command = [sys.executable, str(tmp_path / "worker.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    expected = {name: pytest.approx(loop_measure(name, drawn), rel=1e-6) for name in METRICS} | {"active": 1}
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
