import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cvae.data.layout import from_challenge_x, from_challenge_y, load_plain, read_pairs, to_challenge


@pytest.fixture
def x(generator):
    return torch.rand(6, 2, 50, generator=generator)


def test_to_challenge_puts_points_before_lines(x):
    found = to_challenge(x)
    assert found.shape == (6, 1, 50, 2)
    for n, line, point in [(0, 0, 0), (3, 1, 7), (5, 0, 49)]:
        assert found[n, 0, point, line] == x[n, line, point]


@pytest.mark.parametrize("layout", [to_challenge, lambda x: x.transpose(1, 2), lambda x: x, lambda x: x.unsqueeze(1)])
def test_every_layout_of_x_is_understood(layout, x):
    assert torch.equal(from_challenge_x(layout(x), 2, 50), x)


@pytest.mark.parametrize("shape", [(6, 50), (6, 3, 50), (6, 2, 49), (6, 2, 50, 2), (100,), ()])
def test_another_shape_of_x_is_refused(shape):
    with pytest.raises(ValueError, match=r"x has shape .*; expected \(count, 1, 50, 2\), that is 50 points of 2 lines"):
        from_challenge_x(torch.zeros(shape), 2, 50)


@pytest.mark.parametrize("layout", [to_challenge, lambda y: y.transpose(1, 2), lambda y: y, lambda y: y.unsqueeze(1)])
@pytest.mark.parametrize("conditions", [1, 2])
def test_every_layout_of_y_is_understood(layout, conditions, x):
    y = x[:, :conditions]
    assert torch.equal(from_challenge_y(layout(y), conditions, 50), y)


def test_a_single_condition_may_come_without_a_dimension_of_its_own(x):
    assert torch.equal(from_challenge_y(x[:, 0], 1, 50), x[:, :1])


@pytest.mark.parametrize(
    ("shape", "conditions", "message"),
    [
        ((6, 49), 1, r"y has shape \(6, 49\); expected \(count, 50, 1\) or \(count, 50\)"),
        ((6, 50), 2, r"y has shape \(6, 50\); expected \(count, 50, 2\), that is 50 points of 2 condition"),
        ((6, 2, 50), 1, r"y has shape \(6, 2, 50\)"),
        ((6, 2, 50, 1), 1, r"y has shape \(6, 2, 50, 1\)"),
    ],
)
def test_another_shape_of_y_is_refused(shape, conditions, message):
    with pytest.raises(ValueError, match=message):
        from_challenge_y(torch.zeros(shape), conditions, 50)


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


@pytest.mark.parametrize("name", ["a.pt", "a.npz", "folder/a.pt", ""])
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
