"""Written solutions are those that were made, in every format."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cvae.challenge.solutions import print_solutions, write_solutions
from cvae.problems import Check, Problem

Made = tuple[Tensor, Tensor, Check]


@pytest.fixture
def made(problem: Callable[..., Problem]) -> Made:
    """Three conditions with four draws each, exact ones first."""
    product = problem()
    generator = torch.Generator().manual_seed(0)
    endpoints = product.geometry.sample(12, generator)
    x = product.geometry.to_lines(endpoints).unflatten(0, (3, 4))
    y = product.forward(x[:, 0])
    return x, y, product.check(x, y)


def test_arrays_in_numpy_and_torch_files(made: Made, tmp_path: Path) -> None:
    x, y, check = made
    expected = {"x": x, "y": y, "misfit": check.misfit, "straightness": check.straightness, "valid": check.valid}
    write_solutions(tmp_path / "new" / "out.npz", x, y, check)
    write_solutions(tmp_path / "new" / "out.pt", x, y, check)
    with np.load(tmp_path / "new" / "out.npz", allow_pickle=False) as arrays:
        from_numpy = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    from_torch = torch.load(tmp_path / "new" / "out.pt", weights_only=True)
    for found in (from_numpy, from_torch):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.npz", "out.pt"]


def test_a_table_has_one_row_for_each_draw(made: Made, tmp_path: Path) -> None:
    x, y, check = made
    write_solutions(tmp_path / "out.csv", x, y, check)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    row = rows[2 * 4 + 1]
    assert (row["condition"], row["draw"], row["valid"]) == ("2", "1", str(int(check.valid[2, 1])))
    assert np.float32(row["misfit"]) == check.misfit[2, 1].item()
    for line in (0, 1):
        assert np.float32(row[f"x{line}_straightness"]) == check.straightness[2, 1, line].item()
        assert np.float32(row[f"x{line}_left"]) == x[2, 1, line, 0].item()
        assert np.float32(row[f"x{line}_right"]) == x[2, 1, line, -1].item()


def test_another_suffix_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out is .*out\.txt; it must end in \.npz, \.pt, \.csv"):
        write_solutions(tmp_path / "out.txt", *made)
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_when_nothing_is_valid(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    check = made[2]
    print_solutions(check, "somewhere.npz")
    shown = capsys.readouterr().out
    assert f"{int(check.valid.sum())} of 12" in shown
    assert "somewhere.npz" in shown
    assert "no draw is valid" not in shown
    print_solutions(check._replace(valid=torch.zeros_like(check.valid)), "somewhere.npz")
    assert "no draw is valid" in capsys.readouterr().out
