"""Light curves of sources behind a field of stars: inverse ray shooting with the package ``caustics``.

Lengths are in Einstein radii of a star of mass 1. A source at ``b`` is seen at every ``t`` that solves the lens
equation ``b = t - deflection(t)`` (Schneider, Ehlers & Falco 1992). The deflections are those of ``caustics`` (Stone et
al. 2024, JOSS 9, 7081); the magnification map comes from counting the rays that hit each of its pixels (Kayser, Refsdal
& Stabell 1986; Wambsganss 1999).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cvae.errors import UserError

#: source plane around the map from which stars may still scatter rays into it
MARGIN = 1.5
#: pixel in which caustics are marked, and largest distance of rays, so that the marks have no gaps
MARK = 0.02
#: rays that are shot at once, so that they stay in the processor's cache
CHUNK = 65_536
#: pixels that the radius of a source must have
LEAST_PIXELS = 10


@dataclass(frozen=True)
class Lens:
    """Stars, a sheet of smooth matter and a shear along the first axis.

    Args:
        kappa: convergence of the smooth matter.
        gamma: shear.
        stars: positions and Einstein radii, ``(stars, 3)``.
    """

    kappa: float
    gamma: float
    stars: Tensor

    def source(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where rays through ``(x, y)`` of the lens plane, of any shape, hit the source plane."""
        # takes seconds to import
        from caustics.lenses import func

        sheet = func.reduced_deflection_angle_mass_sheet(0.0, 0.0, self.kappa, x, y)
        shear = func.reduced_deflection_angle_external_shear(0.0, 0.0, self.gamma, 0.0, x, y)
        found_x, found_y = x - sheet[0] - shear[0], y - sheet[1] - shear[1]
        # one star at a time: all at once would leave the cache
        for star_x, star_y, radius in self.stars.tolist():
            bent = func.reduced_deflection_angle_point(star_x, star_y, radius, x, y)
            found_x, found_y = found_x - bent[0], found_y - bent[1]
        return found_x, found_y


class Map(NamedTuple):
    """A square of the source plane around the origin, rows along the second axis.

    Attributes:
        magnification: of each pixel, ``(pixels, pixels)``.
        caustics: whether a caustic passes through a (larger) pixel, bool ``(marks, marks)``.
        side: length of a side.
    """

    magnification: Tensor
    caustics: Tensor
    side: float


def check_installed() -> None:
    """See that ``caustics`` can be imported.

    Raises:
        UserError: if it is not installed.
    """
    if importlib.util.find_spec("caustics") is None:
        raise UserError(
            "data=light_curves simulates with the package caustics, which is not installed: "
            "pip install 'caustics>=1.7', which the extra cvae[lightcurves] does, too; or read curves of your own, "
            "data=light_curves_files."
        )


def half_widths(kappa: float, gamma: float, side: float) -> tuple[float, float]:
    """Half the width and height of the part of the lens plane from which rays reach a map.

    Args:
        kappa: convergence of smooth matter and stars together.
        gamma: shear.
        side: of the map.

    Raises:
        UserError: where ``1 - kappa - gamma`` is 0, that is, where the magnification is infinite.
    """
    stretches = (1 - kappa - gamma, 1 - kappa + gamma)
    if min(map(abs, stretches)) < 0.05:
        raise UserError(
            f"kappa is {kappa} and gamma {gamma}: 1 - kappa - gamma and 1 - kappa + gamma must differ from 0 by at "
            "least 0.05, or the magnification grows without bound."
        )
    return (side / 2 + MARGIN) / abs(stretches[0]), (side / 2 + MARGIN) / abs(stretches[1])


def random_lens(kappa: float, gamma: float, smooth: float, side: float, generator: torch.Generator) -> Lens:
    """Stars of mass 1 at random places, dense enough for a map of ``side``.

    The stars fill a disc around all rays, so that together they deflect as a sheet without a shear of its own.

    Args:
        kappa: convergence of smooth matter and stars together.
        gamma: shear.
        smooth: share of ``kappa`` that is smooth.
        side: of the map.
        generator: source of all randomness.
    """
    in_stars = kappa * (1 - smooth)
    disc = math.hypot(*half_widths(kappa, gamma, side))
    count = round(in_stars * disc**2)
    radius, angle = torch.rand(2, count, generator=generator)
    places = disc * radius.sqrt() * torch.stack([(2 * math.pi * angle).cos(), (2 * math.pi * angle).sin()])
    return Lens(kappa * smooth, gamma, torch.cat([places, torch.ones(1, count)]).T)


def sides(side: float, pixel: float) -> tuple[int, int]:
    """Pixels and marks along a side of a map, whose pixels are ``pixel`` wide at most."""
    # in hundreds, of which the Fourier transform is fast
    return 100 * math.ceil(side / pixel / 100), math.ceil(side / MARK)


@torch.no_grad()
def magnification_map(lens: Lens, side: float, pixel: float, half: tuple[float, float], rays: float = 1.0) -> Map:
    """Map of the magnification, by shooting rays on a grid through the lens plane.

    Args:
        lens: what bends the rays.
        side: of the map.
        pixel: size of its pixels.
        half: half the width and height of the shooting area, see :func:`half_widths`.
        rays: per pixel, where nothing bends them.
    """
    pixels, marks = sides(side, pixel)
    step = min(pixel / math.sqrt(rays), MARK)
    columns, rows = (math.ceil(2 * length / step) for length in half)
    x = (torch.arange(columns) - (columns - 1) / 2) * step
    y = (torch.arange(rows) - (rows - 1) / 2) * step
    hits, caustics = torch.zeros(pixels, pixels), torch.zeros(marks, marks)
    # two rows more than are counted, for the differences between neighbours
    for part in y.unfold(0, 3, 1).split(max(CHUNK // columns, 1)):
        band = torch.cat([part[:, 0], part[-1, 1:]])
        source = lens.source(*torch.meshgrid(x, band, indexing="xy"))
        _count(hits, source[0][: len(part)], source[1][: len(part)], side)
        turned = _turns(*source)
        _count(caustics, source[0][: len(part), :-2][turned], source[1][: len(part), :-2][turned], side)
    return Map(hits * (step * pixels / side) ** 2, caustics > 0, side)


def _count(hits: Tensor, x: Tensor, y: Tensor, side: float) -> None:
    """Add points of any shape to the counts ``hits`` ``(pixels, pixels)`` of a square of ``side`` around the origin."""
    pixels = len(hits)
    column, row = (((values + side / 2) * (pixels / side)).floor().long().flatten() for values in (x, y))
    inside = (column >= 0) & (column < pixels) & (row >= 0) & (row < pixels)
    place = row[inside] * pixels + column[inside]
    hits.view(-1).scatter_add_(0, place, torch.ones(1).expand(len(place)))


def _turns(x: Tensor, y: Tensor) -> Tensor:
    """Where the orientation of the source plane turns between neighbouring rays: on critical curves.

    Args:
        x, y: source positions of the rays, ``(rows + 2, columns + 2)``.

    Returns:
        bool ``(rows, columns)``.
    """
    along = [(values[:, 1:] - values[:, :-1])[:-1] for values in (x, y)]
    across = [(values[1:] - values[:-1])[:, :-1] for values in (x, y)]
    upright = along[0] * across[1] - along[1] * across[0] > 0
    here = upright[:-1, :-1]
    return (here != upright[:-1, 1:]) | (here != upright[1:, :-1])


def crossing_tracks(
    found: Map, count: int, span: float, length: float, points: int, generator: torch.Generator
) -> Tensor:
    """Straight tracks in random directions that cross a caustic, ``(count, points, 2)``.

    Args:
        found: the map.
        count: of tracks.
        span: side of the square around the origin that tracks stay in.
        length: of a track.
        points: equally spaced, from end to end.
        generator: source of all randomness.

    Raises:
        UserError: if hardly any track crosses a caustic.
    """
    kept: list[Tensor] = []
    for _ in range(100):
        centre = (torch.rand(4 * count, 2, generator=generator) - 0.5) * span
        angle = 2 * math.pi * torch.rand(4 * count, generator=generator)
        half = torch.stack([angle.cos(), angle.sin()], dim=1) * length / 2
        inside = ((centre.abs() + half.abs()) <= span / 2).all(1)
        centre, half = centre[inside], half[inside]
        ends = centre[:, None], half[:, None]
        # two samples in each pixel of the marks
        fine = ends[0] + ends[1] * torch.linspace(-1, 1, math.ceil(2 * length / MARK)).view(-1, 1)
        places = ((fine / found.side + 0.5) * len(found.caustics)).long()
        crosses = found.caustics[places[..., 1], places[..., 0]].any(1)
        kept.append((ends[0] + ends[1] * torch.linspace(-1, 1, points).view(-1, 1))[crosses])
        if sum(map(len, kept)) >= count:
            return torch.cat(kept)[:count]
    raise UserError(
        f"fewer than {count} of {400 * count} tracks of length {length} cross a caustic; the map has too few stars: "
        "raise data.source.kappa, lower data.source.smooth, or make tracks longer (data.source.length)."
    )


@torch.no_grad()
def light_curves(found: Map, tracks: Tensor, radii: Tensor) -> Tensor:
    """Magnification of uniform discs that move along tracks, ``(radii, tracks, points)``.

    Args:
        found: the map; the border of a disc must stay in it.
        tracks: positions of the centre, ``(radii, tracks, points, 2)``.
        radii: of the discs, ``(radii,)``, of at least 10 pixels.

    Raises:
        UserError: for a smaller disc, of which the pixels would be seen.
    """
    pixels = len(found.magnification)
    pixel = found.side / pixels
    if radii.min() < LEAST_PIXELS * pixel * (1 - 1e-5):
        raise UserError(f"a source radius of {float(radii.min()):.3g} has fewer than {LEAST_PIXELS} pixels of {pixel}.")
    spectrum = torch.fft.rfft2(found.magnification)
    # distances from a corner, across the borders, which is where the transform has its origin
    steps = torch.arange(pixels)
    steps = torch.minimum(steps, pixels - steps).float() * pixel
    distance = (steps.square() + steps.unsqueeze(1).square()).sqrt()
    curves = []
    for places, radius in zip(tracks, radii.tolist(), strict=True):
        # pixels on the border count in part
        disc = ((radius - distance) / pixel + 0.5).clamp(0, 1)
        blurred = torch.fft.irfft2(spectrum * torch.fft.rfft2(disc / disc.sum()), s=(pixels, pixels))
        at = (2 * places / found.side).unsqueeze(0)
        curves.append(torch.nn.functional.grid_sample(blurred[None, None], at, align_corners=False)[0, 0])
    return torch.stack(curves)
