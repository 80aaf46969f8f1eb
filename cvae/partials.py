"""Functions from configs, as cheap to call as if they were written in code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def plain_call(function: Callable[..., T]) -> Callable[..., T]:
    """The same function without what Hydra wraps around a ``_partial_``; anything else is returned as it is.

    Hydra 1.3.8 checks its whole policy again at every call of a partial, for 0.1 ms; a step of training calls three.
    The target itself was checked when the partial was built.
    """
    if not isinstance(function, functools.partial):
        return function
    target: Callable[..., Any] = function.func
    if not function.args and not function.keywords:
        return target
    return functools.partial(target, *function.args, **function.keywords)
