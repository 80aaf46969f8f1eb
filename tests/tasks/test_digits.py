import numpy as np
import pytest
import torch

from cvae.errors import UserError
from cvae.tasks import Digits, GenerationTask, Problem, Task
from cvae.tasks.digits import digits_of


def test_digits_are_a_task_without_a_forward_operator(problem):
    task = Digits(8)
    assert isinstance(task, Task)
    assert isinstance(task, GenerationTask)
    assert not isinstance(task, Problem)
    assert not isinstance(problem(), GenerationTask)
    assert (task.x_shape, task.y_shape) == ((8, 8), (10,))


def test_classes_become_one_hot_vectors():
    assert torch.equal(Digits(8).conditions([2, 0, 2.0]), torch.eye(10)[[2, 0, 2]])


@pytest.mark.parametrize("wrong", [10, -1, 2.5, float("nan"), [3]])
def test_an_unknown_class_is_told(wrong):
    with pytest.raises(UserError, match=r"is unknown; a digit is one of 0, 1, \.\.\., 9"):
        Digits(8).conditions([3, wrong])


def test_no_class_is_told():
    with pytest.raises(UserError, match=r"name the digits: number=2026"):
        Digits(8).conditions([])


@pytest.mark.parametrize(("number", "digits"), [(2026, [2, 0, 2, 6]), ("007", [0, 0, 7]), (0, [0])])
def test_a_number_is_its_digits(number, digits):
    assert digits_of(number) == digits


@pytest.mark.parametrize("number", [-3, 1.5, "12a", "", "²", True])
def test_anything_but_digits_is_told(number):
    with pytest.raises(UserError, match="it must be made of the digits 0 to 9 alone"):
        digits_of(number)


def test_the_picture_has_a_column_for_each_condition_and_a_row_for_each_draw(generator):
    x = torch.rand(3, 2, 8, 8, generator=generator)
    figure = Digits(8).figures(Digits(8).drawn(torch.arange(3), x, torch.eye(10)[:3]))["draws"]
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (20, 30)
    assert np.array_equal(sheet[1:9, 11:19], x[1, 0].numpy())
    assert np.array_equal(sheet[11:19, 21:29], x[2, 1].numpy())
