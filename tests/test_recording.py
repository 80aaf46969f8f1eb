"""How something was made, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hydra.utils import get_object, instantiate

from cvae.losses import Objective, YTerm, huber, squared
from cvae.models.checkpoints import ALLOWED_TARGETS
from cvae.networks import ParametersHead, ProbabilitiesHead, ValuesHead, dense
from cvae.recording import recorded
from cvae.tasks import Box


@recorded
class Part:
    def __init__(self, size: int, *, inner: Any = None) -> None:
        self.size, self.inner = size, inner


@recorded
def part(size: int) -> Part:
    """Makes a part of twice the size."""
    return Part(2 * size)


class Undecorated(Part):
    pass


def test_a_class_and_a_function_record_what_they_were_given() -> None:
    name = f"{__name__}.Part"
    assert Part(3).config == {"_target_": name, "size": 3}
    assert Part(size=np.float64(0.5), inner=(1, "a", None)).config == {
        "_target_": name, "size": 0.5, "inner": [1, "a", None],
    }  # fmt: skip
    assert type(Part(np.float64(0.5)).config["size"]) is float
    assert Part(1, inner={"a": Part(2)}).config["inner"] == {"a": {"_target_": name, "size": 2}}
    assert part(4).config == {"_target_": f"{__name__}.part", "size": 4}


def test_what_is_no_plain_data_is_not_recorded() -> None:
    assert Part(1, inner=object()).config is None
    assert Part(1, inner=Part(1, inner=object())).config is None


def test_a_subclass_is_not_taken_for_its_base() -> None:
    assert not hasattr(Undecorated(1), "config")
    assert Part(1, inner=Undecorated).config is None
    assert Part(1, inner=Part).config["inner"] == {"_target_": f"{__name__}.Part", "_partial_": True}
    assert ProbabilitiesHead([4]).config == {"_target_": "cvae.networks.ProbabilitiesHead", "x_shape": [4]}


def test_signature_and_documentation_stay() -> None:
    assert part.__doc__ == "Makes a part of twice the size."
    with pytest.raises(TypeError, match="unexpected keyword argument 'many'"):
        part(many=3)


@pytest.mark.parametrize("name", sorted(name for name in ALLOWED_TARGETS if not name.startswith("cvae.tasks.")))
def test_all_that_a_checkpoint_may_ask_for_is_recorded(name: str) -> None:
    target = get_object(name)
    wrapper = target.__init__ if isinstance(target, type) else target
    assert wrapper.__wrapped__


@pytest.mark.parametrize(
    "make",
    [
        lambda: Objective(huber(0.5), 0.1, wx=1.0, wy=0.0, y_term=YTerm(scale=0.05, start=0.5)),
        lambda: Objective(squared(), beta=1, wx=1, wy=1),
        lambda: dense((2,), (1,), 2, (8,), True, ParametersHead(Box([[0, 1], [-1, 1]]))),
        lambda: dense([2], [1], latent_dim=3, hidden=[4, 4], encoder_sees_y=False, head=ValuesHead((2,))),
    ],
)
def test_what_is_made_from_a_record_has_the_same_record(make: Callable[[], Any]) -> None:
    made = make()
    again = instantiate(made.config, _convert_="all")
    assert again.config == made.config
    assert type(again) is type(made)
