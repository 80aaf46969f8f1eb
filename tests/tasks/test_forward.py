import json
import sys
import textwrap

import pytest
import torch
from hydra.utils import instantiate

from cvae.errors import UserError
from cvae.tasks import Box, ExpressionError, Lines, forward_from_config, line_problem

LINES = Lines(50, ("falling", "rising"))
BOX = Box([[0.0, 1.0], [-1.0, 1.0]])


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's own that can be imported by its name."""

    def write(source, name="forward_of_a_user"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    yield write
    sys.modules.pop("forward_of_a_user", None)


@pytest.fixture
def x(generator):
    return LINES.decode(LINES.sample(5, generator))


def test_one_expression_per_condition(x):
    forward = forward_from_config(["x0 * x1", "x0 + t"], LINES)
    assert forward.conditions == 2
    assert forward.name == "x0 * x1, x0 + t"
    expected = torch.stack([x[:, 0] * x[:, 1], x[:, 0] + torch.linspace(0, 1, 50)], dim=1)
    torch.testing.assert_close(forward(x), expected)
    assert forward(x.reshape(1, 5, 2, 50)).shape == (1, 5, 2, 50)


def test_a_bare_text_is_one_expression(x):
    assert forward_from_config("x0 * x1", LINES).config == ["x0 * x1"]


def test_the_config_builds_the_same_operator_again(x):
    forward = forward_from_config([" x0 * x1 "], LINES)
    again = forward_from_config(json.loads(json.dumps(forward.config)), LINES)
    assert torch.equal(again(x), forward(x))


def test_no_expression_is_an_error():
    with pytest.raises(UserError, match=r"data.forward is empty; give one expression per condition"):
        forward_from_config([], LINES)


def test_an_expression_with_too_many_lines_is_an_error():
    with pytest.raises(ExpressionError, match="x2 does not exist"):
        forward_from_config(["x0 * x2"], LINES)


def test_a_function_of_the_user(module, x):
    name = module("def product(x):\n    return x[..., :1, :] * x[..., 1:, :]")
    forward = forward_from_config({"_target_": f"{name}.product"}, LINES)
    assert forward.conditions == 1
    assert forward.name == f"{name}.product"
    assert torch.equal(forward(x), x[:, :1] * x[:, 1:])


def test_a_class_of_the_user_is_built_with_its_options(module, x):
    name = module(
        """
        class Scaled:
            def __init__(self, factors=(1.0,)):
                self.factors = factors

            def __call__(self, x):
                return self.factors[0] * x
        """
    )
    config = {"_target_": f"{name}.Scaled", "factors": [3.0]}
    forward = forward_from_config(config, LINES)
    assert forward.conditions == 2
    assert torch.equal(forward(x), 3 * x)
    assert forward.config == config
    assert forward_from_config({"_target_": f"{name}.Scaled"}, LINES).conditions == 2


def test_a_factory_of_the_user_is_called_with_its_options(module, x):
    name = module("def scaled(factor):\n    return lambda x: factor * x")
    assert torch.equal(forward_from_config({"_target_": f"{name}.scaled", "factor": 2.0}, LINES)(x), 2 * x)


def test_a_callable_makes_a_problem_that_its_own_plain_config_builds_again(module, x):
    name = module("def product(x):\n    return x[..., :1, :] * x[..., 1:, :]")
    gates = {"pearson": 0.9, "rmse": 0.05}
    first = line_problem(50, ["falling", "rising"], [0, 1], {"_target_": f"{name}.product"}, gates)
    again = instantiate(json.loads(json.dumps(first.config)), _recursive_=False)
    assert again.digest == first.digest
    assert torch.equal(again.forward(x), first.forward(x))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return x.sum(-2)", r"returned \(1, 2, 50\); it must return \(\.\.\., conditions, 50\)"),
        ("return x[..., :10]", r"returned \(1, 2, 2, 10\); it must return"),
        ("return x.flatten(0, 1)", r"returned \(2, 2, 50\); it must return"),
        ("return [x]", "returned list; it must return"),
        ("return None", "returned NoneType; it must return"),
        ("return x.detach()", r"has no gradient with respect to x.*without detach\(\)"),
        ("return torch.ones_like(x)", "has no gradient"),
        ("return x.numpy()", "failed on x .*RuntimeError.*It must return"),
        ("raise KeyError('lens')", r"failed on x \(1, 2, 2, 50\): KeyError: 'lens'"),
        ("x += 1; return x", "failed on x .*RuntimeError"),
    ],
)
def test_a_callable_that_breaks_the_contract_is_refused(module, body, message):
    name = module(f"import torch\ndef wrong(x):\n    {body}")
    with pytest.raises(UserError, match=rf"data\.forward: {name}\.wrong {message}"):
        forward_from_config({"_target_": f"{name}.wrong"}, LINES)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", "no_such_package_anywhere.f", "cannot be imported or built.*Give the dotted path of a function"),
        ("", "forward_of_a_user.f", "cannot be imported or built"),
        ("import no_such_package_anywhere\ndef f(x): return x", "forward_of_a_user.f", "cannot be imported or built"),
        ("def f(:", "forward_of_a_user.f", "cannot be imported or built"),
        ("f = 3", "forward_of_a_user.f", "cannot be imported or built"),
        ("class f:\n    pass", "forward_of_a_user.f", "is not callable"),
    ],
)
def test_a_target_that_cannot_be_had_is_an_error_with_its_name(module, source, target, message):
    module(source)
    with pytest.raises(UserError, match=f"data.forward: {target} {message}"):
        forward_from_config({"_target_": target}, LINES)


@pytest.mark.parametrize("config", [{}, {"target": "a.b"}, {"_target_": 3}])
def test_a_mapping_without_a_target_is_an_error(config):
    with pytest.raises(UserError, match=r"must be a list of expressions or \{_target_: package.function\}"):
        forward_from_config(config, LINES)


# --- of vectors


@pytest.fixture
def vectors(generator):
    return BOX.sample(5, generator)


def test_one_expression_of_a_vector_per_condition(vectors):
    forward = forward_from_config(["x0 * x1", "x0 + x1", "0.3"], BOX)
    assert forward.conditions == 3
    assert forward.y_shape == (3,)
    a, b = vectors.unbind(-1)
    torch.testing.assert_close(forward(vectors), torch.stack([a * b, a + b, torch.full((5,), 0.3)], dim=1))
    assert forward(vectors.view(1, 5, 2)).shape == (1, 5, 3)


@pytest.mark.parametrize(
    ("text", "message"), [("x0 * t", "unknown name 't', at column 6"), ("x2", "x2 does not exist")]
)
def test_an_expression_outside_of_the_box_is_an_error(text, message):
    with pytest.raises(ExpressionError, match=message):
        forward_from_config([text], BOX)


def test_a_function_of_a_vector_is_one_condition_of_many_values(module, vectors):
    name = module(
        """
        import torch

        def spectrum(x):
            return torch.sin(x[..., :1] * torch.arange(7) + x[..., 1:])
        """
    )
    forward = forward_from_config({"_target_": f"{name}.spectrum"}, BOX)
    assert forward.conditions == 1
    assert forward.y_shape == (7,)
    assert torch.equal(forward(vectors), torch.sin(vectors[:, :1] * torch.arange(7) + vectors[:, 1:]))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return x.sum(-1)", r"returned \(1, 2\); it must return \(\.\.\., values\) for vectors \(\.\.\., 2\)"),
        ("return x[..., None]", r"returned \(1, 2, 2, 1\); it must return"),
        ("return x[..., :0]", r"returned \(1, 2, 0\); it must return"),
        ("return x.flatten(0, 1)", r"returned \(2, 2\); it must return"),
        ("return 1.0", "returned float; it must return"),
        ("return x.detach()", r"has no gradient with respect to x.*without detach\(\)"),
        ("return torch.ones_like(x)", "has no gradient"),
        ("return x.numpy()", "failed on x .*RuntimeError.*It must return"),
        ("raise KeyError('lens')", r"failed on x \(1, 2, 2\): KeyError: 'lens'"),
        ("return x[..., 2]", r"failed on x \(1, 2, 2\): IndexError"),
    ],
)
def test_a_callable_on_vectors_that_breaks_the_contract_is_refused(module, body, message):
    name = module(f"import torch\ndef wrong(x):\n    {body}")
    with pytest.raises(UserError, match=rf"data\.forward: {name}\.wrong {message}"):
        forward_from_config({"_target_": f"{name}.wrong"}, BOX)
