import math
import random
import sys
import time

import numpy as np
import pytest
import torch

from cvae.tasks import Expression, ExpressionError

POINTS = 7
T = torch.linspace(0, 1, POINTS, dtype=torch.float64)


@pytest.fixture
def x(generator):
    """Two lines with values in [0.2, 0.9], of batch 3 with 4 draws."""
    return 0.2 + 0.7 * torch.rand(3, 4, 2, POINTS, generator=generator, dtype=torch.float64)


# text, the same in numpy, and its derivatives by x0 and x1
FUNCTIONS = [
    ("x0 + x1", lambda a, b, t: a + b, lambda a, b, t: (1 + 0 * a, 1 + 0 * a)),
    ("x0 - x1", lambda a, b, t: a - b, lambda a, b, t: (1 + 0 * a, -1 + 0 * a)),
    ("x0 * x1", lambda a, b, t: a * b, lambda a, b, t: (b, a)),
    ("x0 / x1", lambda a, b, t: a / b, lambda a, b, t: (1 / b, -a / b**2)),
    ("x0 ** x1", lambda a, b, t: a**b, lambda a, b, t: (b * a ** (b - 1), a**b * np.log(a))),
    ("x0 ** 3", lambda a, b, t: a**3, lambda a, b, t: (3 * a**2, 0 * b)),
    ("x0 ** -2", lambda a, b, t: a**-2.0, lambda a, b, t: (-2 * a**-3.0, 0 * b)),
    ("2 ** x1", lambda a, b, t: 2**b, lambda a, b, t: (0 * a, np.log(2) * 2**b)),
    ("-x0", lambda a, b, t: -a, lambda a, b, t: (-1 + 0 * a, 0 * b)),
    ("+x0", lambda a, b, t: a, lambda a, b, t: (1 + 0 * a, 0 * b)),
    ("sin(x0)", lambda a, b, t: np.sin(a), lambda a, b, t: (np.cos(a), 0 * b)),
    ("cos(x1)", lambda a, b, t: np.cos(b), lambda a, b, t: (0 * a, -np.sin(b))),
    ("tan(x0)", lambda a, b, t: np.tan(a), lambda a, b, t: (1 / np.cos(a) ** 2, 0 * b)),
    ("exp(x0)", lambda a, b, t: np.exp(a), lambda a, b, t: (np.exp(a), 0 * b)),
    ("log(x0)", lambda a, b, t: np.log(a), lambda a, b, t: (1 / a, 0 * b)),
    ("sqrt(x0)", lambda a, b, t: np.sqrt(a), lambda a, b, t: (0.5 / np.sqrt(a), 0 * b)),
    ("abs(x0 - 0.5)", lambda a, b, t: np.abs(a - 0.5), lambda a, b, t: (np.sign(a - 0.5), 0 * b)),
    ("tanh(x1)", lambda a, b, t: np.tanh(b), lambda a, b, t: (0 * a, 1 / np.cosh(b) ** 2)),
    ("minimum(x0, x1)", lambda a, b, t: np.minimum(a, b), lambda a, b, t: (1.0 * (a < b), 1.0 * (b < a))),
    ("maximum(x0, x1)", lambda a, b, t: np.maximum(a, b), lambda a, b, t: (1.0 * (a > b), 1.0 * (b > a))),
    ("t * x0", lambda a, b, t: t * a, lambda a, b, t: (t + 0 * a, 0 * b)),
    ("pi * x0", lambda a, b, t: np.pi * a, lambda a, b, t: (np.pi + 0 * a, 0 * b)),
    ("cos(49*x0 + 42*x1)", lambda a, b, t: np.cos(49 * a + 42 * b),
     lambda a, b, t: (-49 * np.sin(49 * a + 42 * b), -42 * np.sin(49 * a + 42 * b))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "gradient"), FUNCTIONS, ids=[text for text, *_ in FUNCTIONS])
def test_value_and_gradient_are_those_of_the_mathematics(text, value, gradient, x):
    x.requires_grad_()
    y = Expression(text, 2)(x.unbind(-2), T)
    y.sum().backward()
    a, b, t = x.detach()[..., 0, :].numpy(), x.detach()[..., 1, :].numpy(), T.numpy()
    np.testing.assert_allclose(y.detach().numpy(), value(a, b, t), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), np.stack(gradient(a, b, t), axis=-2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 - 3 - 4", -5),
        ("2 / 4 / 2", 0.25),
        ("-2 ** 2", -4),
        ("(-2) ** 2", 4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("--3", 3),
        ("-2 * -3", 6),
        ("1.5e1", 15),
        (".5", 0.5),
        ("pi", math.pi),
        ("  3 ", 3),
    ],
)
def test_precedence_is_that_of_mathematics(text, value, x):
    y = Expression(text, 2)(x.unbind(-2), T)
    assert y.shape == (3, 4, POINTS)
    torch.testing.assert_close(y, torch.full_like(y, value))


def test_position_alone_is_spread_over_the_batch(x):
    assert torch.equal(Expression("t", 2)(x.unbind(-2), T), T.expand(3, 4, POINTS))


def test_every_variable_has_its_number(generator):
    x = torch.rand(2, 11, POINTS, generator=generator)
    assert torch.equal(Expression("x10", 11)(x.unbind(-2), T), x[:, 10])


@pytest.mark.parametrize(("exponent", "slope"), [("1", 1.0), ("2", 0.0), ("3", 0.0), ("0", 0.0)])
def test_integer_powers_have_a_finite_gradient_at_zero(exponent, slope):
    x = torch.zeros(1, 1, 1, requires_grad=True)
    Expression(f"x0 ** {exponent}", 1)(x.unbind(-2), T[:1]).sum().backward()
    assert x.grad.item() == slope


@pytest.mark.parametrize(("text", "value", "slope"), [("x0 ** 3", -8.0, 12.0), ("x0 ** -1", -0.5, -0.25)])
def test_integer_powers_take_negative_bases(text, value, slope):
    x = torch.full((1, 1, 1), -2.0, requires_grad=True)
    y = Expression(text, 1)(x.unbind(-2), T[:1])
    y.sum().backward()
    assert y.item() == value
    assert x.grad.item() == slope


def test_values_keep_the_number_format_of_the_lines(x):
    assert Expression("2 * x0 + pi * t", 2)(x.float().unbind(-2), T.float()).dtype == torch.float32


# text, column (from 1), part of the message
FORBIDDEN = [
    ("x0.real", 1, "attribute is not part"),
    ("1 + x0.__class__", 5, "attribute is not part"),
    ("x0[0]", 1, "subscript is not part"),
    ("x0 + [1, 2]", 6, "list is not part"),
    ("x0 + (1, 2)", 6, "tuple is not part"),
    ("x0 + {1: 2}", 6, "dict is not part"),
    ("sin(x=x0)", 1, "sin takes plain arguments only"),
    ("1 + sin(*x0)", 5, "sin takes plain arguments only"),
    ("sin(**x0)", 1, "sin takes plain arguments only"),
    ("sin()", 1, r"sin takes 1 argument\(s\), not 0"),
    ("sin(x0, x1)", 1, r"sin takes 1 argument\(s\), not 2"),
    ("minimum(x0)", 1, r"minimum takes 2 argument\(s\), not 1"),
    ("2 * lambda: 1", 5, "not an expression"),
    ("(lambda: 1)", 2, "lambda is not part"),
    ("x0 + (x0 < x1)", 7, "compare is not part"),
    ("x0 == x1", 1, "compare is not part"),
    ("x0 and x1", 1, "boolop is not part"),
    ("not x0", 1, "operator Not is not part"),
    ("~x0", 1, "operator Invert is not part"),
    ("x0 if x1 else 1", 1, "ifexp is not part"),
    ("x0 // x1", 1, "operator FloorDiv is not part"),
    ("x0 % x1", 1, "operator Mod is not part"),
    ("x0 @ x1", 1, "operator MatMult is not part"),
    ("x0 ^ 2", 1, "operator BitXor is not part"),
    ("x0 << 2", 1, "operator LShift is not part"),
    ("x0 + 'text'", 6, "'text' is not a number"),
    ("x0 + b'text'", 6, "b'text' is not a number"),
    ("f'{x0}'", 1, "joinedstr is not part"),
    ("x0 + True", 6, "True is not a number"),
    ("x0 ** True", 7, "True is not a number"),
    ("None", 1, "None is not a number"),
    ("...", 1, "Ellipsis is not a number"),
    ("x0 * 1j", 6, "1j is not a number"),
    ("[a for a in x0]", 1, "listcomp is not part"),
    ("sin(a for a in x0)", 4, "generatorexp is not part"),
    ("(a := 1)", 2, "namedexpr is not part"),
    ("x0 + a", 6, "unknown name 'a'"),
    ("x2", 1, "x2 does not exist: data.directions names 2"),
    ("x01", 1, "unknown name 'x01'"),
    ("x", 1, "unknown name 'x'"),
    ("X0", 1, "unknown name 'X0'"),
    ("__import__", 1, "unknown name '__import__'"),
    ("x0 * __import__('os')", 6, "unknown function '__import__'"),
    ("eval('1')", 1, "unknown function 'eval'"),
    ("torch.sin(x0)", 1, "only plain function names may be called"),
    ("sin(x0)(x1)", 1, "only plain function names may be called"),
    ("x0 + sin", 6, r"sin is a function: write sin\(...\)"),
    ("x0(x1)", 1, "unknown function 'x0'"),
    ("1 + 1e999", 5, "the number is too large"),
    ("x0 ** 1e999", 7, "the number is too large"),
    ("x0 + " + "9" * 1_000, 6, "the number is too large"),
    ("x0 = x1", 4, "not an expression"),
    ("import os", 1, "not an expression"),
    ("x0 +", 5, "not an expression"),
    ("sin(x0", 4, "never closed"),
    ("x0)", 3, "unmatched"),
    ("x0 x1", 4, "not an expression"),
    ("x0 + 1 $ 2", 8, "not an expression"),
    ("(" * 900 + "1" + ")" * 900, 201, "too many nested parentheses"),
    ("-" * 1_900 + "1", 1, "nested too deeply"),
    ("x0" + "+x0" * 600, 1, "nested too deeply"),
    ("(" * 10_000 + "1" + ")" * 10_000, 1, "more than 2000 characters"),
    ("x0 + " * 1_000_000 + "x0", 1, "more than 2000 characters"),
    ("", 1, "the expression is empty"),
    ("  \n ", 1, "the expression is empty"),
    ("x0\nx1", 3, r"'\\n' is not part"),
    ("(x0\n+ x1)", 4, r"'\\n' is not part"),
    ("x0 +\x00 x1", 5, r"'\\x00' is not part"),
    ("x0 \x0c+ x1", 4, r"'\\x0c' is not part"),
    ("x0 + \ud800", 6, r"'\\ud800' is not part"),
    ("x0 * \N{GREEK SMALL LETTER PI}", 6, "'\N{GREEK SMALL LETTER PI}' is not part"),
    ("x0 + \N{LATIN SMALL LETTER E WITH ACUTE} + a", 6, "is not part"),
    ("\N{FULLWIDTH LATIN SMALL LETTER X}0", 1, "is not part"),
    ("\N{FULLWIDTH LATIN SMALL LETTER S}in(x0)", 1, "is not part"),
    ("x\N{SUPERSCRIPT TWO}", 2, "is not part"),
    ("x0 \N{MULTIPLICATION SIGN} x1", 4, "is not part"),
]


@pytest.mark.parametrize(("text", "column", "message"), FORBIDDEN, ids=[ascii(text[:20]) for text, *_ in FORBIDDEN])
def test_anything_else_is_an_error_that_points_at_its_column(text, column, message):
    start = time.perf_counter()
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression(text, 2)
    assert time.perf_counter() - start < 1
    assert caught.value.column + 1 == column
    heading, _, pointer, allowed = str(caught.value).split("\n")
    assert heading.endswith(f", at column {column}")
    assert pointer == " " * (4 + caught.value.column) + "^"
    assert allowed.startswith("Allowed: x0, x1, ..., t (of lines), pi")


def test_the_pointer_stands_below_the_character():
    with pytest.raises(ExpressionError) as caught:
        Expression("x0 + banana * x1", 2)
    _, shown, pointer, _ = str(caught.value).split("\n")
    assert shown[pointer.index("^") :].startswith("banana")


@pytest.mark.parametrize("value", [None, 3, ["x0"], torch.zeros(1)])
def test_an_expression_must_be_text(value):
    with pytest.raises(ExpressionError, match="an expression must be text"):
        Expression(value, 2)


def test_towers_of_powers_are_not_computed_as_integers(x):
    start = time.perf_counter()
    y = Expression("x0 + 9**9**9**9", 2)(x.unbind(-2), T)
    assert time.perf_counter() - start < 1
    assert y.isinf().all()


def test_the_longest_text_is_accepted(x):
    text = "x0" + " " * 1_995 + "+x1"
    assert len(text) == 2_000
    torch.testing.assert_close(Expression(text, 2)(x.unbind(-2), T), x.sum(-2))


def test_random_text_gives_an_expression_or_an_expression_error_and_runs_nothing(x):
    pieces = [*"x0x1t()+-*/., \t\n[]{}'\"\\=:;<>!@#%^&|~`?$_0123456789.ejabz", *(
        "sin", "cos", "log", "**", "maximum", "pi", "__import__", "lambda ", "eval", "exec", "open", "print",
        " if ", " else ", " for a in ", ":=", "1e9", "None", "f'{", "x0", "x1", "import os", "breakpoint()",
        "\N{GREEK SMALL LETTER PI}", "\x00", "\N{FULLWIDTH LATIN SMALL LETTER X}", "\N{PILE OF POO}",
    )]  # fmt: skip
    choose = random.Random(0)
    watched: list[str] = []
    active = True

    def watch(event, arguments):
        if active and event in ("exec", "import", "open", "os.system", "subprocess.Popen", "compile"):
            # ast.parse compiles with the flag that yields a tree and no code
            if event == "compile":
                return
            watched.append(event)

    sys.addaudithook(watch)
    accepted = 0
    try:
        for _ in range(5_000):
            text = "".join(choose.choices(pieces, k=choose.randint(1, 12)))
            try:
                expression = Expression(text, 2)
            except ExpressionError:
                continue
            accepted += 1
            assert expression(x.unbind(-2), T).shape == (3, 4, POINTS)
    finally:
        active = False
    assert accepted > 50
    assert not watched


# --- of vectors: the variables are the entries of a vector, and there is no position


OF_VECTORS = [entry for entry in FUNCTIONS if entry[0] != "t * x0"]


@pytest.mark.parametrize(("text", "value", "gradient"), OF_VECTORS, ids=[text for text, *_ in OF_VECTORS])
def test_value_and_gradient_over_vectors_are_those_of_the_mathematics(text, value, gradient, generator):
    x = (0.2 + 0.7 * torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    y = Expression(text, 2, position=False)(x.unbind(-1))
    assert y.shape == (3, 4)
    y.sum().backward()
    a, b = x.detach().unbind(-1)
    np.testing.assert_allclose(y.detach().numpy(), value(a.numpy(), b.numpy(), None), rtol=1e-12)
    expected = np.stack(gradient(a.numpy(), b.numpy(), None), axis=-1)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("x0 * t", 6, "unknown name 't'"),
        ("t", 1, "unknown name 't'"),
        ("sin(x0) + x3", 11, "x3 does not exist: data.bounds holds 2"),
        ("x2 * x0", 1, "x2 does not exist: data.bounds holds 2"),
    ],
)
def test_what_a_vector_does_not_have_is_an_error_that_points_at_it(text, column, message):
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression(text, 2, position=False)
    heading, shown, pointer, _ = str(caught.value).split("\n")
    assert heading.endswith(f", at column {column}")
    assert shown[pointer.index("^") :].startswith(message.split()[0] if message[0] == "x" else "t")


def test_a_constant_expression_over_vectors_has_their_batch():
    assert Expression("pi", 2, position=False)(torch.zeros(3, 4, 2).unbind(-1)).shape == (3, 4)
