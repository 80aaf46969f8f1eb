"""The data module of light curves: folders of files, and cached simulation split by map."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

import cvae.runs.names  # noqa: F401 - registers the resolvers that the configs use
from cvae.data import CurveFiles, LightCurveData, SimulatedCurves, microlensing
from cvae.errors import UserError
from cvae.runs.settle import settle
from cvae.tasks import LightCurves

needs_caustics = pytest.mark.skipif(
    importlib.util.find_spec("caustics") is None, reason="caustics (extra lightcurves) is not installed"
)
TASK = LightCurves(16)


def write_folder(root: Path, count: int = 20, points: int = 30) -> Path:
    """Series ``1 + p (1 + t)`` of magnification; four of them share a map."""
    labels = []
    for number in range(count):
        p = 0.1 * (number + 1)
        folder = root / f"{number:05d}"
        folder.mkdir(parents=True)
        np.savetxt(folder / "05.dat", 1 + p * (1 + np.linspace(0, 1, points + number)))
        labels.append([0.3 + 0.01 * (number // 4), 0.3, 0.5, p])
    np.savetxt(root / "labels.dat", labels, header="k g s p")
    return root


def load(root: Path, **options: Any) -> Any:
    return CurveFiles(str(root), **options).load(TASK, None)


def test_a_ratio_is_optimised_downwards() -> None:
    with initialize_config_dir(str(Path(__file__).resolve().parents[2] / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=light_curves", "optimized_metric=val/curves_ratio"])
    assert settle(cfg).optimized_mode == "min"


# --- files


def test_series_of_any_length_are_resampled_and_go_with_their_labels(tmp_path: Path) -> None:
    sets = load(write_folder(tmp_path))
    assert sorted(len(one.x) for one in sets.values()) == [3, 3, 14]
    for one in sets.values():
        assert one.x.dtype == one.y.dtype == torch.float32
        expected = (1 + 10**one.y * (1 + torch.linspace(0, 1, 16))).log10()
        torch.testing.assert_close(one.x, expected, rtol=0, atol=2e-4)


def test_curves_of_one_map_stay_together(tmp_path: Path) -> None:
    sets = load(write_folder(tmp_path), map_columns=["k", "g", "s"])
    maps = [set(one.map.tolist()) for one in sets.values()]
    assert sum(map(len, maps)) == len(set.union(*maps)) == 5
    assert all(len(one.x) == 4 * len(known) for one, known in zip(sets.values(), maps, strict=True))


def test_magnitudes_and_unequal_times_are_converted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for folder in tmp_path.glob("0*"):
        time = np.array([0.0, 0.1, 0.4, 1.0])
        np.savetxt(folder / "05.dat", np.stack([time, -2.5 * (0.2 + time)], axis=1), delimiter=",")
    sets = load(tmp_path, series={"time": 0, "scale": "magnitude"})
    torch.testing.assert_close(sets["train"].x[0], 0.2 + torch.linspace(0, 1, 16), rtol=0, atol=1e-5)


def damage_labels(root: Path) -> None:
    np.savetxt(root / "labels.dat", np.ones((19, 4)))


def damage_columns(root: Path) -> None:
    np.savetxt(root / "labels.dat", np.ones((20, 3)))


def damage_p(root: Path) -> None:
    labels = np.ones((20, 4))
    labels[7, 3] = 0
    np.savetxt(root / "labels.dat", labels)


def damage_text(root: Path) -> None:
    (root / "00003" / "05.dat").write_text("1.0\nbright\n")


def damage_value(root: Path) -> None:
    (root / "00003" / "05.dat").write_text("1.0\n-2.0\n")


def damage_empty(root: Path) -> None:
    (root / "00003" / "05.dat").write_text("")


def damage_missing(root: Path) -> None:
    (root / "00003" / "05.dat").unlink()


def damage_ragged(root: Path) -> None:
    (root / "00003" / "05.dat").write_text("1 2\n3\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_labels, r"has 19 rows of 4 columns; expected 20 rows"),
        (damage_columns, r"has 20 rows of 3 columns; expected 20 rows.* of 4 columns"),
        (damage_p, r"row 8 holds .* p must be positive"),
        (damage_text, r"00003/05\.dat: must be a table of numbers"),
        (damage_value, r"00003/05\.dat: holds the magnification -2"),
        (damage_empty, r"00003/05\.dat: holds no numbers"),
        (damage_missing, r"00003/05\.dat: no such file"),
        (damage_ragged, r"00003/05\.dat: must be a table of numbers"),
    ],
)
def test_a_mismatch_is_one_message_that_names_the_file(damage: Any, message: str, tmp_path: Path) -> None:
    damage(write_folder(tmp_path))
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_folders_that_are_empty_missing_or_too_small_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folders named by numbers"):
        load(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        load(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="too few for training, validation and test"):
        load(write_folder(tmp_path, count=4))


@pytest.mark.parametrize(
    "options",
    [{"columns": ["k", "g", "s"]}, {"map_columns": ["m"]}, {"held_out": 0.5}, {"series": {"scale": "flux"}}],
)
def test_options_that_make_no_sense_are_errors(options: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.source\."):
        CurveFiles(str(tmp_path), **options)


# --- simulation


def small(cache: Path | None, **options: Any) -> LightCurveData:
    """A data module with tiny maps."""
    settings: dict[str, Any] = {
        "kappa": 0.4,
        "gamma": 0.2,
        "smooth": 0.1,
        "length": 2.0,
        "maps": {"train": 2, "validation": 1, "test": 2, "beyond": 2},
        "curves": 20,
        "beyond": {"above": [1.0, 1.5]},
    }
    source = SimulatedCurves(**(settings | options))
    counts = {"validation": 16, "test": 32}
    return LightCurveData(source, 24, 16, [0.4, 1.0], evaluation=counts, cache=None if cache is None else str(cache))  # type: ignore[arg-type]


@needs_caustics
def test_simulated_curves_are_split_by_map_and_kept(tmp_path: Path, monkeypatch: Any) -> None:
    data = small(tmp_path)
    sets = data.sets
    maps = [set(one.map.tolist()) for one in sets.values()]
    assert [len(known) for known in maps] == [2, 1, 2, 2]
    assert len(set.union(*maps)) == 7
    assert all(bool(one.x.isfinite().all()) for one in sets.values())
    inside, above = 10 ** sets["train"].y, 10 ** sets["above"].y
    assert 0.4 <= float(inside.min()) < 0.5 < 0.8 < float(inside.max()) <= 1.0 <= float(above.min())
    # the second time nothing is simulated
    monkeypatch.setattr(microlensing, "magnification_map", None)
    again = small(tmp_path).sets
    assert all(torch.equal(again[name].x, one.x) for name, one in sets.items())


@needs_caustics
def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    first = small(tmp_path).sets
    for path in (tmp_path / "light_curves").glob("curves-*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(small(tmp_path).sets["train"].x, first["train"].x)


@needs_caustics
def test_halves_of_the_test_share_no_map(tmp_path: Path) -> None:
    test = small(tmp_path).sets["test"]
    assert set(test.map[test.first].tolist()).isdisjoint(test.map[~test.first].tolist())
    assert 0 < int(test.first.sum()) < len(test.x)


def test_without_the_package_the_extra_is_named(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"cvae\[lightcurves\]"):
        small(None).sets  # noqa: B018


@pytest.mark.parametrize(
    "options",
    [
        {"kappa": 0.0},
        {"smooth": 1.0},
        {"length": 0.0},
        {"curves": 0},
        {"gamma": 0.6},
        {"maps": {"train": 0, "validation": 1, "test": 2, "beyond": 2}},
        {"maps": {"train": 1, "validation": 1, "test": 1, "beyond": 2}},
    ],
)
def test_fields_that_make_no_sense_are_errors(options: Any) -> None:
    with pytest.raises(UserError, match=r"data\.source|kappa"):
        small(None, **options)
