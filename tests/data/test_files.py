"""Files of pairs, conditions and solutions: every format gives the same tensors; everything else is one clear error."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from cvae.data.files import load_plain, read_conditions, read_pairs, write_solutions
from cvae.metrics import Check
from cvae.tasks import Problem

POINTS = 7


@pytest.fixture
def single(problem: Callable[..., Problem]) -> Problem:
    return problem(points=POINTS)


@pytest.fixture
def double(problem: Callable[..., Problem]) -> Problem:
    return problem("x0", "x1", points=POINTS)


@pytest.fixture
def one() -> Tensor:
    return torch.rand(3, 1, POINTS)


@pytest.fixture
def two() -> Tensor:
    return torch.rand(3, 2, POINTS)


# --- conditions


def test_numpy_files(tmp_path: Path, two: Tensor, double: Problem) -> None:
    np.save(tmp_path / "y.npy", two.double().numpy())
    np.savez(tmp_path / "named.npz", x=np.zeros(3), y=two.numpy())
    np.savez(tmp_path / "only.npz", curves=two.numpy())
    for name in ("y.npy", "named.npz", "only.npz"):
        y = read_conditions(tmp_path / name, double)
        assert y.dtype == torch.float32
        assert torch.equal(y, two)


def test_torch_files(tmp_path: Path, two: Tensor, double: Problem) -> None:
    x = torch.rand(3, 1, POINTS, 2)
    y = two.transpose(1, 2).unsqueeze(1)
    contents = (two, y, TensorDataset(x, y), TensorDataset(y), list(zip(x, y, strict=True)))
    for content in contents:
        torch.save(content, tmp_path / "y.pt")
        assert torch.equal(read_conditions(tmp_path / "y.pt", double), two)


def test_a_data_set_counts_along_its_first_axis(tmp_path: Path, single: Problem) -> None:
    y = torch.rand(POINTS, POINTS)
    torch.save(TensorDataset(torch.rand(POINTS, 3), y), tmp_path / "y.pt")
    assert torch.equal(read_conditions(tmp_path / "y.pt", single)[:, 0], y)


def test_text_files_with_curves_in_lines_or_in_columns(tmp_path: Path, one: Tensor, single: Problem) -> None:
    curves = one[:, 0].double().numpy()
    np.savetxt(tmp_path / "lines.csv", curves, delimiter=",")
    np.savetxt(tmp_path / "columns.csv", curves.T, delimiter=";", header="a;b;c", comments="")
    np.savetxt(tmp_path / "spaces.csv", curves, header="made by hand")
    for name in ("lines.csv", "columns.csv", "spaces.csv"):
        assert torch.equal(read_conditions(tmp_path / name, single), one)


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
def test_bad_text_is_told_by_line(tmp_path: Path, text: str, message: str, single: Problem) -> None:
    path = tmp_path / "y.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_conditions(path, single)
    assert str(path) in str(error.value)


def test_files_that_are_no_conditions_are_refused(tmp_path: Path, single: Problem) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_conditions(tmp_path / "y.npy", single)
    with pytest.raises(ValueError, match=r"\.npy, \.npz, \.pt, \.csv"):
        read_conditions(tmp_path / "y.txt", single)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.ones(POINTS, dtype=complex))
    np.savez(tmp_path / "several.npz", a=np.ones(POINTS), b=np.ones(POINTS))
    torch.save({"y": torch.rand(POINTS)}, tmp_path / "dict.pt")
    torch.save(Path("somewhere"), tmp_path / "class.pt")
    for name in ("damaged.npy", "damaged.npz", "damaged.pt", "binary.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00nothing")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=path.name):
            read_conditions(path, single)


def test_values_that_are_not_finite_are_told_by_number(tmp_path: Path, two: Tensor, double: Problem) -> None:
    two[1, 0, 2] = torch.nan
    np.save(tmp_path / "y.npy", two.numpy())
    with pytest.raises(ValueError, match=r"1 of 3 conditions .* first number 1"):
        read_conditions(tmp_path / "y.npy", double)


def test_conditions_of_vectors_are_read_from_every_format(
    tmp_path: Path, vector_problem: Callable[..., Problem]
) -> None:
    three = vector_problem("x0", "x1", "x0 * x1")
    y = torch.rand(4, 3)
    np.save(tmp_path / "y.npy", y.numpy())
    np.savez(tmp_path / "y.npz", y=y.double().numpy(), x=np.zeros(3))
    torch.save(TensorDataset(torch.rand(4, 2), y), tmp_path / "y.pt")
    np.savetxt(tmp_path / "y.csv", y.double().numpy(), delimiter=",", header="a,b,c", comments="")
    for name in ("y.npy", "y.npz", "y.pt", "y.csv"):
        assert torch.equal(read_conditions(tmp_path / name, three), y)
    np.savetxt(tmp_path / "column.csv", y[:, 0].double().numpy())
    assert torch.equal(read_conditions(tmp_path / "column.csv", vector_problem("x0")), y[:, :1])
    with pytest.raises(ValueError, match=r"y\.csv: y has shape \(4, 3\); expected \(count, 2\)"):
        read_conditions(tmp_path / "y.csv", vector_problem("x0", "x1"))


# --- pairs


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.rand(6, 2, 50, generator=generator)


def pairs(x, y):
    return list(zip(x, y, strict=True))


@pytest.mark.parametrize("container", [list, tuple, lambda found: [list(pair) for pair in found]])
def test_pairs_are_stacked(tmp_path, x, container):
    torch.save(container(pairs(x.double(), x[:, 0].double())), tmp_path / "a.pt")
    found_x, found_y = read_pairs(tmp_path / "a.pt")
    assert found_x.dtype == found_y.dtype == torch.float32
    assert torch.equal(found_x, x)
    assert torch.equal(found_y, x[:, 0])


def test_a_tensor_dataset_gives_its_first_two_tensors(tmp_path, x):
    torch.save(TensorDataset(x, x[:, 0], torch.arange(6)), tmp_path / "a.pt")
    found_x, found_y = read_pairs(tmp_path / "a.pt")
    assert torch.equal(found_x, x)
    assert torch.equal(found_y, x[:, 0])


def test_an_npz_file_gives_its_arrays_x_and_y(tmp_path, x):
    np.savez(tmp_path / "a.npz", x=x.double().numpy(), y=x[:, 0].numpy(), other=np.arange(3))
    found_x, found_y = read_pairs(tmp_path / "a.npz")
    assert found_x.dtype == found_y.dtype == torch.float32
    assert torch.equal(found_x, x)
    assert torch.equal(found_y, x[:, 0])


@pytest.mark.parametrize("name", ["a.pt", "a.npz", "folder/a.pt"])
def test_a_missing_file_is_said_to_be_missing(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r": no such file\."):
        read_pairs(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": 1}, "holds a dict; expected a TensorDataset or a list of"),
        (torch.zeros(3), "holds a Tensor; expected"),
        ([], "holds a list; expected"),
        ([torch.zeros(3)], r"entry 0 is not a pair \(x, y\) of tensors"),
        ([(torch.zeros(3), torch.zeros(3)), (torch.zeros(3),)], "entry 1 is not a pair"),
        ([(torch.zeros(3), 1.0)], "entry 0 is not a pair"),
        ([(torch.zeros(3), torch.zeros(3)), (torch.zeros(4), torch.zeros(3))], "entry 1 has other shapes than entry 0"),
        ([(torch.zeros(3), torch.zeros(3)), (torch.zeros(3), torch.zeros(4))], "entry 1 has other shapes than entry 0"),
        (TensorDataset(torch.zeros(3)), r"the TensorDataset holds 1 tensor\(s\); expected x and y"),
        (
            TensorDataset(torch.zeros(0, 3), torch.zeros(0, 3)),
            r"x \(0, 3\) and y \(0, 3\) must be as many, and at least",
        ),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt: {message}"):
        read_pairs(tmp_path / "a.pt")


@pytest.mark.parametrize("tensors", [None, "text", (1, 2), [torch.zeros(3)]])
def test_a_tensor_dataset_that_holds_something_else_is_refused(tmp_path, tensors):
    dataset = TensorDataset(torch.zeros(3), torch.zeros(3))
    dataset.tensors = tensors
    torch.save(dataset, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="the TensorDataset holds"):
        read_pairs(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 2, 50))}, "must be an .npz file with numeric arrays x and y .*y"),
        ({"x": np.zeros((3, 2, 50)), "y": np.array(["a", "b", "c"])}, "must be an .npz file with numeric arrays"),
        ({"x": np.zeros((3, 2, 50)), "y": np.zeros((2, 50))}, r"x \(3, 2, 50\) and y \(2, 50\) must be as many"),
        ({"x": np.float32(1), "y": np.float32(1)}, r"x \(\) and y \(\) must be as many"),
    ],
)
def test_an_npz_file_of_other_contents_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_pairs(tmp_path / "a.npz")


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: [(torch.zeros(3), bad)], lambda bad: {"x": bad}])
def test_a_foreign_class_is_refused_and_not_run(tmp_path, wrap):
    torch.save(wrap(Malicious(tmp_path / "ran")), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: cannot be loaded safely \(.*save it again with torch.save"):
        load_plain(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_objects_in_an_npz_file_are_refused_and_not_run(tmp_path):
    bad = np.empty(1, dtype=object)
    bad[0] = Malicious(tmp_path / "ran")
    np.savez(tmp_path / "a.npz", x=bad, y=bad)
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"a\.npz: must be an \.npz file with numeric arrays x and y"):
        read_pairs(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "ran"), protocol=2))
    with pytest.raises(ValueError, match="cannot be loaded safely"):
        load_plain(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_reading_allows_nothing_for_later(tmp_path, x):
    torch.save(TensorDataset(x, x), tmp_path / "a.pt")
    before = set(torch.serialization.get_safe_globals())
    read_pairs(tmp_path / "a.pt")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("damage", [lambda good: good[: len(good) // 2], lambda good: b"", lambda good: b"text" * 99])
@pytest.mark.parametrize("name", ["a.pt", "a.npz"])
def test_a_damaged_file_is_refused_by_name(tmp_path, x, damage, name):
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(TensorDataset(x, x), path)
    else:
        np.savez(path, x=x.numpy(), y=x.numpy())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{name}: (cannot be loaded safely|must be an \.npz file)"):
        read_pairs(path)


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_pairs_of_vectors_are_read_as_they_are(tmp_path, suffix, generator):
    x, y = torch.rand(6, 2, generator=generator), torch.rand(6, 3, generator=generator)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x.numpy(), y=y.numpy())
    else:
        torch.save(TensorDataset(x, y), path)
    found_x, found_y = read_pairs(path)
    assert torch.equal(found_x, x)
    assert torch.equal(found_y, y)


# --- solutions

Made = tuple[Problem, Tensor, Tensor, Check]


def solved(problem: Problem) -> Made:
    """Three conditions with four draws each, exact ones first."""
    theta = problem.space.sample(12, torch.Generator().manual_seed(0))
    x = problem.space.decode(theta).unflatten(0, (3, 4))
    y = problem.forward(x[:, 0])
    return problem, x, y, problem.check(x, y)


@pytest.fixture
def made(problem: Callable[..., Problem]) -> Made:
    return solved(problem())


def test_arrays_in_numpy_and_torch_files(made: Made, tmp_path: Path) -> None:
    problem, x, y, check = made
    expected = {"x": x, "y": y, "misfit": check.misfit, "straightness": check.straightness, "valid": check.valid}
    expected["gate"] = torch.tensor(problem.gates.rmse)
    write_solutions(tmp_path / "new" / "out.npz", problem, x, y, check)
    write_solutions(tmp_path / "new" / "out.pt", problem, x, y, check)
    with np.load(tmp_path / "new" / "out.npz", allow_pickle=False) as arrays:
        from_numpy = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    from_torch = torch.load(tmp_path / "new" / "out.pt", weights_only=True)
    for found in (from_numpy, from_torch):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.npz", "out.pt"]


def test_a_table_has_one_row_for_each_draw(made: Made, tmp_path: Path) -> None:
    problem, x, y, check = made
    write_solutions(tmp_path / "out.csv", problem, x, y, check)
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


def test_how_complete_an_answer_is_stands_beside_it(made: Made, tmp_path: Path) -> None:
    told = {"found": torch.tensor([4, 1, 12]), "unseen": torch.tensor([0.0, 0.125, 0.1])}
    for name in ("out.npz", "out.pt", "out.csv"):
        write_solutions(tmp_path / name, *made, told)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert (arrays["found"].tolist(), arrays["unseen"].shape) == ([4, 1, 12], (3,))
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True)["unseen"], told["unseen"])
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["found"] for row in rows] == ["4"] * 4 + ["1"] * 4 + ["12"] * 4
    assert [row["unseen"] for row in rows[::4]] == ["0.0", "0.125", "0.1"]


def test_another_suffix_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out is .*out\.txt; it must end in \.npz, \.pt, \.csv"):
        write_solutions(tmp_path / "out.txt", *made)
    assert list(tmp_path.iterdir()) == []


def test_vectors_are_written_without_straightness(vector_problem: Callable[..., Problem], tmp_path: Path) -> None:
    problem, x, y, check = solved(vector_problem("x0 * x1", "x0"))
    expected = {"x": x, "y": y, "misfit": check.misfit, "valid": check.valid, "gate": torch.tensor(0.05)}
    for name in ("out.npz", "out.pt", "out.csv"):
        write_solutions(tmp_path / name, problem, x, y, check)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        from_numpy = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    for found in (from_numpy, torch.load(tmp_path / "out.pt", weights_only=True)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["condition", "draw", "valid", "misfit", "x0", "x1"]
    assert len(rows) == 12
    row = rows[2 * 4 + 1]
    assert (row["condition"], row["draw"], row["valid"]) == ("2", "1", str(int(check.valid[2, 1])))
    assert [np.float32(row[name]) for name in ("misfit", "x0", "x1")] == [check.misfit[2, 1], *x[2, 1]]
    # what was written is read again as it was
    assert torch.equal(read_conditions(tmp_path / "out.npz", problem), y)
