import numpy as np
import pytest
import torch

from cvae import CVAE
from cvae.errors import UserError
from cvae.generation import Plan, generate, generate_digits
from cvae.losses import Objective, bernoulli
from cvae.models import Evaluation
from cvae.networks import ParametersHead, ProbabilitiesHead, dense
from cvae.tasks import Digits


@pytest.fixture
def model():
    network = dense((8, 8), (10,), 3, [16], True, ProbabilitiesHead((8, 8)))
    return CVAE(network, Objective(bernoulli(), 1.0, 1.0, 0.0, reduction="sum"), Digits(8), Evaluation(draws=2)).eval()


@pytest.mark.parametrize("labels", [[2, 0, 2, 6], np.array([2, 0, 2, 6]), torch.tensor([2, 0, 2, 6])])
def test_each_label_has_its_images(model, labels):
    x = generate_digits(model, labels, draws=3, seed=1)
    assert x.shape == (4, 3, 8, 8)
    expected = generate(model, model.task, torch.eye(10)[[2, 0, 2, 6]], Plan(draws=3, seed=1))
    assert torch.equal(x, expected.x)
    assert expected.evaluations == 12
    assert not torch.equal(x, generate_digits(model, labels, draws=3, seed=2))


def test_results_do_not_depend_on_the_chunks(model):
    y = torch.eye(10)
    whole = generate(model, model.task, y, Plan(draws=4))
    pieces = generate(model, model.task, y, Plan(draws=4, chunk=12))
    torch.testing.assert_close(pieces.x, whole.x)


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        ({"candidates": 9}, r"candidates=null"),
        ({"oversample": 4}, r"oversample=1"),
        ({"candidates": 9, "refine_steps": 3}, r"candidates=null, generation\.refine_steps=0"),
    ],
)
def test_stages_that_need_a_forward_operator_are_refused(model, stage, remedy):
    message = rf"^generation asks to .* no forward operator f, .*use generation=default, or set generation\.{remedy}\.$"
    with pytest.raises(UserError, match=message):
        generate(model, model.task, torch.eye(10), Plan(draws=2, **stage))


def test_a_temperature_spreads_the_draws(model):
    y = torch.eye(10)
    wide, narrow = (generate(model, model.task, y, Plan(draws=50, temperature=t)).x for t in (2.0, 0.1))
    assert wide.std(1).mean() > 5 * narrow.std(1).mean()


def test_a_model_of_something_else_is_told(problem):
    task = problem()
    network = dense(task.x_shape, task.y_shape, 2, [8], True, ParametersHead(task.space))
    other = CVAE(network, Objective(bernoulli(), 1.0, 1.0, 0.0), task)
    with pytest.raises(UserError, match="this model is of Problem, not of digits"):
        generate_digits(other, [1])
