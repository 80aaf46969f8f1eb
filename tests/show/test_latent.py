"""Pictures of the latent: what is in colour, and what the titles say."""

import numpy as np
import torch
from matplotlib.colors import to_hex

from cvae.show.latent import MARKED, categories_figure, latent_figure
from cvae.tasks.figures import CATEGORIES, INVALID

NAMES = ["x0 left", "x0 right", "x1 left", "x1 right"]


def test_usage_of_components_is_sorted_and_the_most_used_are_in_colour():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(40, generator=generator) ** 8
    chosen = torch.multinomial(weights, 500, replacement=True, generator=generator)
    theta = torch.rand(500, 4, generator=generator)
    figure = categories_figure(torch.nn.functional.one_hot(chosen, 40), theta, NAMES)
    counts = np.sort(np.bincount(chosen, minlength=40))[::-1]
    usage, first, second = figure.axes
    assert (counts == 0).any()
    np.testing.assert_allclose([bar.get_height() for bar in usage.patches], counts[counts > 0] / 5)
    colours = [to_hex(bar.get_facecolor()).upper() for bar in usage.patches]
    assert colours[:MARKED] == list(CATEGORIES[:MARKED])
    assert set(colours[MARKED:]) == {to_hex(INVALID).upper()}
    for axis in (first, second):
        # the rest, then the marked ones
        assert [len(marks.get_offsets()) for marks in axis.collections] == [counts[MARKED:].sum(), *counts[:MARKED]]
    assert f"500 validation solutions: {(counts > 0).sum()} of 40 components in use; the {MARKED} most" in (
        figure.get_suptitle()
    )


def test_few_components_and_one_parameter_are_drawn(tmp_path):
    codes = torch.nn.functional.one_hot(torch.tensor([1, 1, 0]), 3)
    figure = categories_figure(codes, torch.rand(3, 1), ["x0"])
    assert len(figure.axes) == 2
    assert "2 of 3 components in use; the 2 most used" in figure.get_suptitle()
    figure.savefig(tmp_path / "few.png", dpi=30)


def test_a_gaussian_latent_is_shown_in_the_dimensions_that_vary_most():
    codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 2.0, 1.0])
    figure = latent_figure(codes, torch.rand(200, 4), NAMES)
    panels = figure.axes[: len(NAMES)]
    assert panels[0].get_xlabel().startswith("z[1]")
    assert panels[0].get_ylabel().startswith("z[2]")
    assert [axis.get_title() for axis in panels] == [f"coloured by {name}" for name in NAMES]
    assert "two of 3 dimensions" in figure.get_suptitle()
