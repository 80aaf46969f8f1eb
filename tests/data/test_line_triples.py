import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.utils.data import TensorDataset

from cvae.data import LineFiles, LineTriples, Simulation

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


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    batches = list(loader)
    return torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])


def sorted_rows(x):
    rows = x.flatten(1).numpy()
    return rows[np.lexsort(rows.T)]


def test_an_epoch_visits_the_training_triples(problem):
    data = make()
    x, y = epoch(data.train_dataloader(), 0)
    np.testing.assert_array_equal(sorted_rows(x), sorted_rows(data.splits.train.x))
    torch.testing.assert_close(y, problem().forward(x))


def test_a_later_epoch_visits_the_same_triples_in_another_order():
    loader = make().train_dataloader()
    first, second = epoch(loader, 0)[0], epoch(loader, 1)[0]
    assert not torch.equal(first, second)
    np.testing.assert_array_equal(sorted_rows(first), sorted_rows(second))


def test_fresh_triples_are_new_each_epoch_and_fixed_by_the_seed(problem):
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


def test_the_problem_is_that_of_the_file(tmp_path):
    data = make()
    x, y = data.splits.train
    torch.save(TensorDataset(x.flip(1), y), tmp_path / "a.pt")
    assert make(source=LineFiles(str(tmp_path / "a.pt"), held_out=5)).problem.geometry.directions == (
        "rising",
        "falling",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -0.1}, "data.tolerance is -0.1; it must be 0 or more"),
        ({"fresh": True, "source": LineFiles("a.pt")}, "data.fresh=true needs simulated data"),
        ({"sizes": {"lines": 3}}, "data.sizes.lines is 3, but data.forward and data.directions give 2; set data.sizes"),
        ({"sizes": {"points": 49}}, "data.sizes.points is 49, .*give 50"),
        ({"sizes": {"conditions": 2}}, "data.sizes.conditions is 2, .*give 1; set data.sizes.conditions=1"),
        ({"sizes": {"width": 2}}, "data.sizes.width is unknown; data.sizes holds lines, points, conditions"),
        ({"evaluation": {"validation": 0}}, "data.evaluation.validation is 0; validation and test need at least 1"),
        ({"evaluation": {"training": 5}}, "data.evaluation.training is 5"),
        ({"points": 2}, "data.points is 2"),
        ({"range": [0]}, "data.range"),
        ({"gates": {"pearson": 0.9}}, "data.gates must hold pearson and rmse"),
        ({"forward": ["x2"]}, "x2 does not exist"),
    ],
)
def test_a_senseless_config_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size is 0"):
        make(batch_size=0).train_dataloader()


def test_a_function_of_the_user_goes_through_the_shipped_config(shipped, tmp_path, monkeypatch):
    (tmp_path / "quotient_of_a_user.py").write_text("def quotient(x):\n    return x[..., :1, :] / (1 + x[..., 1:, :])")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = shipped("~data.forward", "+data.forward._target_=quotient_of_a_user.quotient")
    data = instantiate(config.data, _recursive_=False)
    x, y = data.splits.train
    torch.testing.assert_close(y, x[:, :1] / (1 + x[:, 1:]))
    assert data.problem.config["forward"] == {"_target_": "quotient_of_a_user.quotient"}


def test_the_shipped_config_makes_the_data_module(shipped):
    data = instantiate(shipped("data=two_birds").data, _recursive_=False)
    assert data.problem.forward.config == ["cos(49*x0 + 42*x1)", "cos(56*x0 + 63*x1)"]
    assert data.splits.train.y.shape == (64, 2, 50)
    assert isinstance(data.source, Simulation)
