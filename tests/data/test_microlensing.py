"""Magnification maps and light curves, against another program and against theory."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch

from cvae.data import microlensing
from cvae.data.microlensing import Lens, Map, crossing_tracks, half_widths, light_curves, magnification_map, random_lens
from cvae.errors import UserError

needs_caustics = pytest.mark.skipif(
    importlib.util.find_spec("caustics") is None, reason="caustics (extra lightcurves) is not installed"
)


def two_stars(separation: float, ratio: float) -> Lens:
    """Two stars of mass 1 together, around their centre of mass."""
    first, second = 1 / (1 + ratio), ratio / (1 + ratio)
    left, right = [-separation * second, 0, math.sqrt(first)], [separation * first, 0, math.sqrt(second)]
    return Lens(0.0, 0.0, torch.tensor([left, right]))


@needs_caustics
@pytest.mark.parametrize(("separation", "ratio"), [(1.0, 0.5), (0.8, 1.0)])
def test_two_star_lenses_agree_with_vbmicrolensing(separation: float, ratio: float) -> None:
    other = pytest.importorskip("VBMicrolensing", reason="VBMicrolensing is not installed").VBMicrolensing()
    side, radius, height = 2.4, 0.12, 0.13
    found = magnification_map(two_stars(separation, ratio), side, 0.01, half_widths(0.0, 0.0, side), rays=4)
    along = torch.linspace(-0.9, 0.9, 41)
    tracks = torch.stack([along, torch.full_like(along, height)], dim=1)
    curve = light_curves(found, tracks.view(1, 1, -1, 2), torch.tensor([radius]))[0, 0]
    truth = torch.tensor([other.BinaryMag2(separation, ratio, float(x), height, radius) for x in along])
    error = (curve / truth).log10().abs()
    assert float(error.median()) < 1.5e-3
    assert float(error.max()) < 0.015


@needs_caustics
def test_a_field_of_stars_magnifies_as_its_mean_density_says(generator: torch.Generator) -> None:
    kappa, gamma, side = 0.2, 0.2, 8.0
    means = []
    for _ in range(4):
        lens = random_lens(kappa, gamma, 0.5, side, generator)
        found = magnification_map(lens, side, 0.08, half_widths(kappa, gamma, side))
        means.append(float(found.magnification.mean()))
        assert 0 < float(found.caustics.float().mean()) < 0.2
    # the mean over a map scatters with the few stars in front of it
    assert sum(means) / 4 == pytest.approx(1 / ((1 - kappa) ** 2 - gamma**2), rel=0.1)


@needs_caustics
def test_smooth_matter_alone_magnifies_evenly_and_has_no_caustics() -> None:
    lens = Lens(0.2, 0.1, torch.zeros(0, 3))
    found = magnification_map(lens, 2.0, 0.02, half_widths(0.2, 0.1, 2.0), rays=4)
    assert float(found.magnification.mean()) == pytest.approx(1 / ((1 - 0.2) ** 2 - 0.1**2), rel=5e-3)
    assert not found.caustics.any()


@needs_caustics
def test_a_single_star_has_a_point_caustic_and_the_magnification_of_paczynski() -> None:
    star = Lens(0.0, 0.0, torch.tensor([[0.0, 0.0, 1.0]]))
    found = magnification_map(star, 3.0, 0.01, half_widths(0.0, 0.0, 3.0), rays=4)
    marks = found.caustics.nonzero().float()
    assert float((marks - (len(found.caustics) - 1) / 2).abs().max()) <= 2
    u = torch.tensor([0.6, 0.8, 1.1])
    tracks = torch.stack([u, torch.zeros(3)], dim=1).view(1, 1, -1, 2)
    truth = (u**2 + 2) / (u * (u**2 + 4).sqrt())
    torch.testing.assert_close(light_curves(found, tracks, torch.tensor([0.1]))[0, 0], truth, rtol=0.01, atol=0)


def flat(side: float = 2.0, pixels: int = 200) -> Map:
    """A map of magnification 1 with one caustic, the vertical line through the origin."""
    caustics = torch.zeros(100, 100, dtype=torch.bool)
    caustics[:, 50] = True
    return Map(torch.ones(pixels, pixels), caustics, side)


def test_tracks_are_straight_have_their_length_and_cross_a_caustic(generator: torch.Generator) -> None:
    tracks = crossing_tracks(flat(), 40, span=1.6, length=0.8, points=20, generator=generator)
    assert tracks.shape == (40, 20, 2)
    assert float(tracks.abs().max()) <= 0.8 + 1e-6
    steps = tracks.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=0, atol=1e-5)
    torch.testing.assert_close(steps.norm(dim=-1).sum(1), torch.full((40,), 0.8))
    ends = tracks[:, [0, -1], 0]
    assert bool((ends.amin(1) < 0.03).all())
    assert bool((ends.amax(1) > -0.01).all())


def test_a_map_without_caustics_is_an_error_that_names_the_remedy(generator: torch.Generator) -> None:
    empty = flat()._replace(caustics=torch.zeros(100, 100, dtype=torch.bool))
    with pytest.raises(UserError, match=r"data\.source\.kappa"):
        crossing_tracks(empty, 4, span=1.6, length=0.8, points=20, generator=generator)


def test_a_disc_sees_the_mean_of_what_it_covers() -> None:
    found = flat()
    found.magnification[:, 100:] = 3.0
    places = torch.tensor([[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]).view(1, 1, 3, 2)
    curve = light_curves(found, places, torch.tensor([0.2]))[0, 0]
    torch.testing.assert_close(curve, torch.tensor([1.0, 2.0, 3.0]), rtol=1e-3, atol=0)


def test_a_source_of_few_pixels_is_an_error() -> None:
    with pytest.raises(UserError, match="fewer than 10 pixels"):
        light_curves(flat(), torch.zeros(1, 1, 3, 2), torch.tensor([0.05]))


def test_infinite_magnification_is_an_error() -> None:
    with pytest.raises(UserError, match="1 - kappa - gamma"):
        half_widths(0.5, 0.5, 4.0)


def test_a_missing_package_is_one_message_that_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"cvae\[lightcurves\]"):
        microlensing.check_installed()
