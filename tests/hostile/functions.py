"""Functions as text: what is outside the language is refused, what is inside it means what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch

from cvae.tasks import box_problem, line_problem
from tests.hostile.campaign import Case
from tests.hostile.good import Good

GATES = {"pearson": 0.9, "rmse": 0.05}
HOSTILE = (
    "", " ", "\n", "x", "x2", "x-1", "x00", "X0", "y", "z", "t2", "T", "e", "i", "1j", "x0j", "True", "None",
    "...", "__import__('os').system('touch ran')", "exec('1')", "eval('1')", "open('ran','w')", "().__class__",
    "x0.__class__", "x0.numpy()", "x0[0]", "x0[:]", "[x0]", "(x0, x1)", "{x0}", "{x0: x1}", "lambda: x0",
    "x0 if x1 else x0", "x0 and x1", "not x0", "x0 < x1", "x0 == x1", "x0 // x1", "x0 % x1", "x0 @ x1", "x0 & x1",
    "x0 | x1", "x0 ^ x1", "~x0", "x0 << x1", "x0 := x1", "(x0 := x1)", "x0 = x1", "x0; x1", "x0\nx1", "x0 # a",
    "await x0", "yield x0", "*x0", "**x0", "f'{x0}'", "'x0'", '"x0"', "b'x0'", "[x for x in x0]", "x0(1)", "sin",
    "sin x0", "sin()", "sin(x0, x1)", "sin(x=x0)", "sin(*x0)", "sin(**x0)", "cosh", "sin(x0)(x1)", "np.sin(x0)",
    "torch.sin(x0)", "math.pi", "pi()", "pi(x0)", "maximum(x0)", "maximum(x0, x1, t)", "minimum()", "nope(x0)", "abs",
    "1e999*x0", "9" * 400 + "*x0", "x0 + ", "+", "(", ")", "((x0)", "x0)", "x0 x1", "2x0", "x0 2", "x\uff10", "\uff580",
    "x0 \xd7 x1", "x0·x1", "x0²", "π*x0", "x0\u200b+x1", "x0\u202e+x1", "x0\x00", "x0\x1b[31m", "x0\tx1", "\ufeffx0",
    "é", "x0\r+x1", "(" * 300 + "x0" + ")" * 300, "-" * 5000 + "x0", "x0" + "+x0" * 5000, "a" * 10_000, "x" + "0" * 100,
    "x" + "9" * 5000, "x0 +* x1", "x0 ** ", "1 2", ",", "x0,", "x0, x1", "@x0", "$x0", "x0!", "x0?", "`x0`", "${x0}",
    "{{x0}}", "%s", "import os", "from os import system", "assert x0", "del x0", "pass", "raise x0", "x0 is x1",
    "x0 in x1", "globals()", "locals()", "vars()", "dir()", "getattr(x0, 'a')", "type(x0)", "print(x0)", "input()",
    "breakpoint()", "help()", "exit()", "x0.detach()", "x0.data", "x0.grad", "x0.requires_grad", "sin.__self__",
    "sin.__globals__", "pi.real", "(1).real", "x0.real", "=x0", "-", "x0 - ", "**", "x0 ** ** x1", "x0 / / x1",
    "x0 (x1)", "(x0)(x1)", "2(x0)", "sin(x0", "sin x0)", "x 0", "x0.", ".x0", "1.2.3*x0", "1e*x0", "0777*x0", "1__0",
    "_", "__", "_x0", "x0_", "x_0", "t0", "tt", "x0t", "pi2", "sinx0", "sin2(x0)", "exp", "log", "sqrt",
)  # fmt: skip
#: nothing of x is left in them, or nothing finite
USELESS = (
    "1", "0", "pi", "t", "-t", "t*t", "sin(t)", "0*x0", "x0 - x0", "0*x0*x1", "x0**0", "x0/x0", "x1 - x1 + 1",
    "sin(0*x0)", "pi*pi", "1/0", "0/0", "log(-1 - x0)", "sqrt(-1 - x0)", "x0/0", "log(0*x0)", "1e300*1e300*x0",
    "x0*1e39", "(0*x0)**(-1)", "x0/(x1 - x1)", "exp(1000 + x0)", "9**9**9", "0*exp(x0)", "maximum(x0, 2)",
    "minimum(x0, -1)", "x0 + 1e30 - x0 - 1e30",
)  # fmt: skip


class Tree(NamedTuple):
    """A function as text, and what it means to numpy."""

    text: str
    value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


UNARY = {"sin": np.sin, "cos": np.cos, "tanh": np.tanh, "abs": np.abs, "exp": np.exp}
BINARY = {"+": np.add, "-": np.subtract, "*": np.multiply}


def tree(rng: Random, depth: int) -> Tree:
    """A random function of the language, written with more or fewer parentheses and spaces."""
    if depth == 0:
        number = rng.choice(["0.5", "2", "1e-1", ".25", "3.", "007.5"])
        leaves = (
            Tree("x0", lambda a, b, t: a),
            Tree("x1", lambda a, b, t: b),
            Tree("t", lambda a, b, t: t),
            Tree("pi", lambda a, b, t: np.pi + 0 * t),
            Tree(number, lambda a, b, t: float(number) + 0 * t),
        )
        return rng.choice(leaves)
    one, other = tree(rng, depth - 1), tree(rng, depth - 1)
    kind = rng.randrange(5)
    if kind == 0:
        name = rng.choice(list(UNARY))
        # exp of exp is not finite
        inner = f"0.1*({one.text})" if name == "exp" else one.text
        scale = 0.1 if name == "exp" else 1.0
        return Tree(f"{name}({inner})", lambda a, b, t: UNARY[name](scale * one.value(a, b, t)))
    if kind == 1:
        return Tree(f"-({one.text})", lambda a, b, t: -one.value(a, b, t))
    if kind == 2:
        return Tree(f"({one.text})**2", lambda a, b, t: one.value(a, b, t) ** 2)
    if kind == 3:
        text = f"({one.text}) / (2 + sin({other.text}))"
        return Tree(text, lambda a, b, t: one.value(a, b, t) / (2 + np.sin(other.value(a, b, t))))
    name, space = rng.choice(list(BINARY)), rng.choice(["", " ", "  "])
    text = f"({one.text}){space}{name}{space}({other.text})"
    return Tree(text, lambda a, b, t: BINARY[name](one.value(a, b, t), other.value(a, b, t)))


def functions(good: Good, rng: Random) -> Iterator[Case]:
    """Text in the place of a function of lines and of vectors."""
    for text in HOSTILE:
        shown = text if len(text) < 60 else f"{text[:60]}... ({len(text)})"
        yield Case(f"lines: {shown!r}", lambda run, text=text: _lines([text]), things=("data.forward",))
        yield Case(f"vector: {shown!r}", lambda run, text=text: _box([text]), things=("data.forward",))
    for text in ("t", "x5", "t*x0"):
        yield Case(f"vector: {text!r}", lambda run, text=text: _box([text]), things=("data.forward",))
    for number in range(150):
        made = tree(rng, 1 + number % 4)
        # a function of nothing is refused where a training is settled
        yield _meaning(made)


def _lines(forward: list[str]) -> object:
    return line_problem(20, ["falling", "rising"], [0.0, 1.0], forward, GATES)


def _box(forward: list[str]) -> object:
    return box_problem([[0.0, 1.0], [0.0, 1.0]], forward, {"rmse": 0.05})


def _meaning(made: Tree) -> Case:
    t = np.linspace(0, 1, 20)
    a, b = 0.9 - 0.5 * t, 0.2 + 0.6 * t

    def act(run: Path) -> torch.Tensor:
        problem = _lines([made.text])
        return problem.forward(torch.tensor(np.stack([a, b])))

    def right(value: torch.Tensor) -> bool:
        return bool(np.allclose(value[0].numpy(), made.value(a, b, t), rtol=1e-6, atol=1e-9, equal_nan=True))

    return Case(made.text, act, right)


def useless(good: Good, rng: Random) -> Iterator[Case]:
    """Functions of which nothing can be learned."""
    from tests.hostile.settings import entry

    for text in USELESS:
        yield entry((), "data.forward", [text])
        if "t" not in text.replace("sqrt", ""):
            yield entry(("data=vector", "data.bounds=[[0,1],[0,1]]", "data.forward=[x0 * x1]"), "data.forward", [text])
