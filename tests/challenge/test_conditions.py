"""Every format and shape of conditions gives the same tensor; everything else is one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.conditions import arrange, read_conditions

POINTS = 7


@pytest.fixture
def one() -> Tensor:
    return torch.rand(3, 1, POINTS)


@pytest.fixture
def two() -> Tensor:
    return torch.rand(3, 2, POINTS)


def test_single_curves_are_read_from_any_shape(one: Tensor) -> None:
    for values in (one, one[:, 0], one[:, 0].T, one.transpose(1, 2), one.transpose(1, 2).unsqueeze(1)):
        assert torch.equal(arrange(values, 1, POINTS), one)
    for values in (one[0, 0], one[0], one[0].T):
        assert torch.equal(arrange(values, 1, POINTS), one[:1])


def test_several_curves_are_read_from_any_shape(two: Tensor) -> None:
    for values in (two, two.transpose(1, 2), two.transpose(1, 2).unsqueeze(1)):
        assert torch.equal(arrange(values, 2, POINTS), two)
    for values in (two[0], two[0].T):
        assert torch.equal(arrange(values, 2, POINTS), two[:1])


def test_a_shape_that_can_be_read_in_two_ways_is_refused() -> None:
    with pytest.raises(ValueError, match="two ways"):
        arrange(torch.rand(POINTS, POINTS), 1, POINTS)
    with pytest.raises(ValueError, match="two ways"):
        arrange(torch.rand(4, POINTS, POINTS), POINTS, POINTS)
    # what the message recommends is accepted
    assert arrange(torch.rand(POINTS, 1, POINTS, 1), 1, POINTS).shape == (POINTS, 1, POINTS)


@pytest.mark.parametrize("shape", [(), (8,), (3, 8), (0, POINTS), (3, 2, POINTS), (3, 2, POINTS, 1), (1, 1, 1, 1, 1)])
def test_another_shape_is_refused_with_the_expected_ones(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"y has shape .* expected one of .*\(7,\)"):
        arrange(torch.rand(shape), 1, POINTS)


def test_numpy_files(tmp_path: Path, two: Tensor) -> None:
    np.save(tmp_path / "y.npy", two.double().numpy())
    np.savez(tmp_path / "named.npz", x=np.zeros(3), y=two.numpy())
    np.savez(tmp_path / "only.npz", curves=two.numpy())
    for name in ("y.npy", "named.npz", "only.npz"):
        y = read_conditions(tmp_path / name, 2, POINTS)
        assert y.dtype == torch.float32
        assert torch.equal(y, two)


def test_torch_files(tmp_path: Path, two: Tensor) -> None:
    x = torch.rand(3, 1, POINTS, 2)
    y = two.transpose(1, 2).unsqueeze(1)
    contents = (two, y, TensorDataset(x, y), TensorDataset(y), list(zip(x, y, strict=True)))
    for content in contents:
        torch.save(content, tmp_path / "y.pt")
        assert torch.equal(read_conditions(tmp_path / "y.pt", 2, POINTS), two)


def test_a_data_set_counts_along_its_first_axis(tmp_path: Path) -> None:
    y = torch.rand(POINTS, POINTS)
    torch.save(TensorDataset(torch.rand(POINTS, 3), y), tmp_path / "y.pt")
    assert torch.equal(read_conditions(tmp_path / "y.pt", 1, POINTS)[:, 0], y)


def test_text_files_with_curves_in_lines_or_in_columns(tmp_path: Path, one: Tensor) -> None:
    curves = one[:, 0].double().numpy()
    np.savetxt(tmp_path / "lines.csv", curves, delimiter=",")
    np.savetxt(tmp_path / "columns.csv", curves.T, delimiter=";", header="a;b;c", comments="")
    np.savetxt(tmp_path / "spaces.csv", curves, header="made by hand")
    for name in ("lines.csv", "columns.csv", "spaces.csv"):
        assert torch.equal(read_conditions(tmp_path / name, 1, POINTS), one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no numbers"),
        ("a,b\n", "no numbers"),
        ("1,2\n3,four\n", "line 2 holds 'four'"),
        ("1,2\n3,\n", "line 2 holds ''"),
        ("1,2\n3\n", "line 2 has 1 values"),
        ("1,2\n3,4\n", "y has shape"),
        (",".join(["nan"] * POINTS), "not finite, first number 0"),
        (",".join(["1e300"] * POINTS), "not finite"),
    ],
)
def test_bad_text_is_told_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "y.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_conditions(path, 1, POINTS)
    assert str(path) in str(error.value)


def test_files_that_are_no_conditions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_conditions(tmp_path / "y.npy", 1, POINTS)
    with pytest.raises(ValueError, match=r"\.npy, \.npz, \.pt, \.csv"):
        read_conditions(tmp_path / "y.txt", 1, POINTS)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.ones(POINTS, dtype=complex))
    np.savez(tmp_path / "several.npz", a=np.ones(POINTS), b=np.ones(POINTS))
    torch.save({"y": torch.rand(POINTS)}, tmp_path / "dict.pt")
    torch.save(Path("somewhere"), tmp_path / "class.pt")
    for name in ("damaged.npy", "damaged.npz", "damaged.pt", "binary.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00nothing")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=path.name):
            read_conditions(path, 1, POINTS)


def test_values_that_are_not_finite_are_told_by_number(tmp_path: Path, two: Tensor) -> None:
    two[1, 0, 2] = torch.nan
    np.save(tmp_path / "y.npy", two.numpy())
    with pytest.raises(ValueError, match=r"1 of 3 conditions .* first number 1"):
        read_conditions(tmp_path / "y.npy", 2, POINTS)
