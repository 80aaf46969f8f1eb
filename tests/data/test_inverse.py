import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.utils.data import TensorDataset

from cvae.data import LineTriples, PairFiles, Simulation, Vectors
from cvae.runs.settle import settle

GATES = {"pearson": 0.9, "rmse": 0.05}


def make(**options):
    settings = {
        "points": 50,
        "directions": ["falling", "rising"],
        "range": [0, 1],
        "forward": ["x0 * x1"],
        "gates": GATES,
        "source": Simulation(40, 20, 10),
        "batch_size": 16,
    }
    return LineTriples(**settings | options)


def vectors(**options):
    settings = {
        "bounds": [[-1, 1], [0, 2]],
        "forward": ["x0**2 + x1**2", "x0 * x1"],
        "gates": {"rmse": 0.05},
        "source": Simulation(40, 20, 10),
        "batch_size": 16,
    }
    return Vectors(**settings | options)


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    batches = list(loader)
    return torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])


def sorted_rows(x):
    rows = x.flatten(1).numpy()
    return rows[np.lexsort(rows.T)]


def test_an_epoch_visits_the_training_pairs(problem):
    data = make()
    x, y = epoch(data.train_dataloader(), 0)
    np.testing.assert_array_equal(sorted_rows(x), sorted_rows(data.splits.train.x))
    torch.testing.assert_close(y, problem().forward(x))


def test_a_later_epoch_visits_the_same_pairs_in_another_order():
    loader = make().train_dataloader()
    first, second = epoch(loader, 0)[0], epoch(loader, 1)[0]
    assert not torch.equal(first, second)
    np.testing.assert_array_equal(sorted_rows(first), sorted_rows(second))


def test_fresh_pairs_are_new_each_epoch_and_fixed_by_the_seed(problem):
    loader, again = make(fresh=True).train_dataloader(), make(fresh=True).train_dataloader()
    drawn = [epoch(loader, number) for number in (0, 1)]
    ends = [tuple(x[:, [0, -1]].flatten().tolist()) for xs, _ in drawn for x in xs]
    assert len(set(ends)) == 80
    for x, y in drawn:
        torch.testing.assert_close(y, problem().forward(x))
    assert torch.equal(epoch(again, 1)[0], drawn[1][0])


def test_tolerance_perturbs_training_y_up_to_its_share_of_the_gate(problem):
    data = make(tolerance=0.5, source=Simulation(2_000, 20, 10))
    x, y = epoch(data.train_dataloader(), 0)
    rmse = (y - problem().forward(x)).double().square().mean(-1).sqrt()
    assert 0.0245 < rmse.max() <= 0.025 * (1 + 1e-5)
    assert not torch.equal(epoch(data.train_dataloader(), 0)[1], epoch(data.train_dataloader(), 1)[1])


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_sees_exact_y_in_order(stage):
    data = make(tolerance=1.0)
    x, y = epoch(getattr(data, f"{stage}_dataloader")(), 0)
    split = {"val": data.splits.validation, "test": data.splits.test}[stage]
    assert torch.equal(x, split.x)
    assert torch.equal(y, split.y)


def test_the_evaluated_conditions_are_the_first_of_their_split():
    data = make(evaluation={"validation": 7})
    assert torch.equal(data.conditions("validation").y, data.splits.validation.y[:7])
    assert len(data.conditions("test").y) == 10


def test_loading_happens_once():
    data = make()
    assert data.splits is data.splits
    data.setup("fit")
    assert data.splits is data.splits


def test_the_directions_are_those_of_the_file(shipped, tmp_path):
    x, y = make().splits.train
    torch.save(TensorDataset(x.flip(1), y), tmp_path / "a.pt")
    path = f"data.source.train={tmp_path / 'a.pt'}"
    cfg = settle(
        shipped("data=lines_file", "data.forward=[x0*x1]", path, "data.source.held_out=5", small=["run_dir=."])
    )
    data = instantiate(cfg.data, _convert_="all")
    assert data.problem.space.directions == ("rising", "falling")
    assert len(data.splits.train.x) == 30


# --- vectors


def test_an_epoch_of_vectors_visits_the_training_pairs():
    data = vectors()
    x, y = epoch(data.train_dataloader(), 0)
    assert x.shape == y.shape == (40, 2)
    np.testing.assert_array_equal(sorted_rows(x), sorted_rows(data.splits.train.x))
    torch.testing.assert_close(y, data.problem.forward(x))


def test_fresh_vectors_are_new_each_epoch_and_fixed_by_the_seed():
    data = vectors(fresh=True)
    loader, again, other = (vectors(fresh=True, seed=seed).train_dataloader() for seed in (0, 0, 1))
    drawn = [epoch(loader, number) for number in (0, 1)]
    assert len({tuple(x.tolist()) for xs, _ in drawn for x in xs}) == 80
    for x, y in drawn:
        torch.testing.assert_close(y, data.problem.forward(x))
    assert torch.equal(epoch(again, 1)[0], drawn[1][0])
    assert not torch.equal(epoch(other, 1)[0], drawn[1][0])


def test_tolerance_perturbs_each_value_of_a_vector_up_to_its_share_of_the_gate():
    data = vectors(tolerance=0.5, source=Simulation(2_000, 20, 10))
    x, y = epoch(data.train_dataloader(), 0)
    error = (y - data.problem.forward(x)).abs()
    assert 0.0245 < error.max() <= 0.025 * (1 + 1e-4)
    assert (error.amax(0) > 0.0245).all()
    exact = epoch(data.val_dataloader(), 0)
    assert torch.equal(exact[1], data.splits.validation.y)


@pytest.mark.parametrize("seed", [0, 1])
def test_reference_sets_of_vectors_hold_the_solution_that_is_known(seed, tmp_path):
    data = vectors(evaluation={"validation": 7, "references": 3}, cache=str(tmp_path), seed=seed)
    x, _ = data.conditions("validation")
    found = data.references("validation")
    assert len(found) == 3
    for one, known in zip(found, x, strict=False):
        assert one.finite
        assert (one.theta - known).abs().amax(1).min() < 1e-3
    assert data.references("validation") is found  # searched once, with or without a cache
    kept = vectors(evaluation={"validation": 7, "references": 3}, cache=str(tmp_path), seed=seed).references(
        "validation"
    )
    assert all(torch.equal(one.theta, again.theta) for one, again in zip(found, kept, strict=True))
    assert list(tmp_path.iterdir())


def test_files_of_vectors_fill_the_module(tmp_path):
    x, y = vectors().splits.train
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=y.numpy())
    data = vectors(source=PairFiles(str(tmp_path / "a.npz"), held_out=5))
    assert [len(split.x) for split in data.splits] == [30, 5, 5]
    assert not data.fresh


# --- configs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -0.1}, "data.tolerance is -0.1; it must be 0 or more"),
        ({"fresh": True, "source": PairFiles("a.pt")}, "data.fresh=true needs simulated data"),
        ({"evaluation": {"validation": 0}}, "data.evaluation.validation is 0; it must be at least 1"),
        ({"evaluation": {"references": -1}}, "data.evaluation.references is -1; it must be at least 0"),
        ({"batch_size": 0}, "data.batch_size is 0; it must be at least 1"),
        ({"points": 2}, "data.points is 2"),
        ({"range": [0]}, "data.range"),
        ({"gates": {"pearson": 0.9}}, "data.gates must hold pearson and rmse"),
        ({"forward": ["x2"]}, "x2 does not exist"),
    ],
)
def test_a_senseless_config_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": []}, "data.bounds is empty"),
        ({"bounds": [[0, 1], [1, 0]]}, r"data.bounds\[1\] is \[1, 0\]; it must be"),
        ({"forward": ["x2"]}, "x2 does not exist"),
        ({"forward": ["t"]}, "t"),
        ({"gates": {"pearson": 0.9, "rmse": 0.05}}, "data.gates must hold rmse; pearson is missing or unknown"),
        ({"prior": ["uniform"]}, "data.prior has 1 entries for 2 parameters"),
        ({"fresh": True, "source": PairFiles("a.npz")}, "data.fresh=true needs simulated data"),
    ],
)
def test_a_senseless_config_of_vectors_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vectors(**options)


def test_a_function_of_the_user_goes_through_the_shipped_config(shipped, tmp_path, monkeypatch):
    (tmp_path / "quotient_of_a_user.py").write_text("def quotient(x):\n    return x[..., :1, :] / (1 + x[..., 1:, :])")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = settle(shipped("~data.forward", "+data.forward._target_=quotient_of_a_user.quotient"))
    data = instantiate(config.data, _convert_="all")
    x, y = data.splits.train
    torch.testing.assert_close(y, x[:, :1] / (1 + x[:, 1:]))
    assert data.problem.config["forward"] == {"_target_": "quotient_of_a_user.quotient"}


def test_the_shipped_config_makes_the_data_module(shipped):
    data = instantiate(settle(shipped("data=two_birds")).data, _convert_="all")
    assert data.problem.forward.config == ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]
    assert data.splits.train.y.shape == (64, 2, 50)
    assert isinstance(data.source, Simulation)


def test_the_shipped_config_of_vectors_makes_their_data_module(shipped):
    data = instantiate(settle(shipped("data=sine_wave")).data, _convert_="all")
    assert isinstance(data, Vectors)
    assert data.splits.train.x.shape == (64, 2)
    assert data.splits.train.y.shape == (64, 1)
