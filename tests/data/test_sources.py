import logging
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cvae.data import Batch, PairFiles, Simulation, simulate
from cvae.data.layout import to_challenge
from cvae.data.sources import read_checked


@pytest.fixture
def pairs(problem, generator):
    """40 exact pairs of the product problem."""
    return simulate(problem(), 40, generator)


def save(path, x, y):
    torch.save(TensorDataset(to_challenge(x), to_challenge(y)), path)
    return str(path)


# --- simulation


def test_simulated_y_is_f_of_x(problem, generator):
    x, y = simulate(problem("x0 * x1", "cos(4*x0 + 8*x1)"), 30, generator)
    a, b = x.double().numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(y.numpy(), np.stack([a * b, np.cos(4 * a + 8 * b)], axis=1), atol=1e-5)


def test_simulated_pairs_are_valid(problem, generator):
    problem = problem()
    x, y = simulate(problem, 1_000, generator)
    assert x.shape == (1_000, 2, 50)
    assert not x.requires_grad
    check = problem.check(x[:, None], y)
    # a random line may be too flat for its correlation to be seen, hardly ever
    assert check.valid.float().mean() > 0.99


def test_splits_have_their_sizes_and_share_no_pair(problem):
    splits = Simulation(30, 20, 10).load(problem(), seed=3)
    assert [len(split.x) for split in splits] == [30, 20, 10]
    ends = [tuple(x[:, [0, -1]].flatten().tolist()) for split in splits for x in split.x]
    assert len(set(ends)) == 60


@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_fixes_the_simulation(problem, seed):
    first, again, other = (Simulation(30, 20, 10).load(problem(), s) for s in (seed, seed, seed + 1))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(first, again, strict=True))
    assert not any(torch.isclose(a.x[0], b.x[0]).all() for a, b in zip(first, other, strict=True))


def test_a_split_does_not_depend_on_the_size_of_another(problem):
    few, many = (Simulation(train, 20, 10).load(problem(), 0) for train in (5, 50))
    assert torch.equal(few.validation.x, many.validation.x)
    assert torch.equal(few.test.x, many.test.x)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_an_empty_split_is_refused(name):
    with pytest.raises(ValueError, match=f"data.source.{name} is 0; it must be at least 1"):
        Simulation(**{"train": 1, "validation": 1, "test": 1, name: 0})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("log(x0 - 2)", "10 of 10"),
        ("1 / (x0 - x0)", "10 of 10"),
        ("sqrt(x1 - x0)", r"\d+ of 10"),
        ("9**9**9", "10 of 10"),
    ],
)
def test_a_simulator_that_is_not_finite_is_reported_with_an_example(problem, generator, text, count):
    number = r"-?[\d.e-]+"
    with pytest.raises(
        ValueError,
        match=rf"is not finite for {count} simulated solutions, first for x0 left {number}, "
        rf"x0 right {number}, x1 left {number}, x1 right {number}\. Change the expression or data.range",
    ):
        simulate(problem(text), 10, generator)


# --- files


@pytest.mark.parametrize(
    "layout",
    [
        lambda x, y: TensorDataset(to_challenge(x), to_challenge(y)),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: list(zip(to_challenge(x), to_challenge(y), strict=True)),
        lambda x, y: list(zip(to_challenge(x), to_challenge(y)[:, 0], strict=True)),
        lambda x, y: list(zip(x.transpose(1, 2), y, strict=True)),
    ],
)
@pytest.mark.parametrize("forward", [["x0 * x1"], ["x0 * x1", "cos(4*x0 + 8*x1)"]])
def test_every_layout_is_read(problem, generator, tmp_path, layout, forward):
    problem = problem(*forward)
    x, y = simulate(problem, 8, generator)
    torch.save(layout(x, y), tmp_path / "a.pt")
    batch = read_checked(tmp_path / "a.pt", problem)
    assert torch.equal(batch.x, x)
    assert torch.equal(batch.y, y)


def test_pairs_whose_y_is_a_bare_curve_are_read(problem, pairs, tmp_path):
    torch.save(list(zip(to_challenge(pairs.x), pairs.y[:, 0], strict=True)), tmp_path / "a.pt")
    batch = read_checked(tmp_path / "a.pt", problem())
    assert torch.equal(batch.y, pairs.y)


def test_npz_is_read(problem, pairs, tmp_path):
    np.savez(tmp_path / "a.npz", x=pairs.x.double().numpy(), y=pairs.y[:, 0].double().numpy())
    batch = read_checked(tmp_path / "a.npz", problem())
    assert torch.equal(batch.x, pairs.x)
    assert torch.equal(batch.y, pairs.y)


def test_half_precision_is_close_enough(problem, pairs, tmp_path):
    save(tmp_path / "a.pt", pairs.x.half(), pairs.y.half())
    batch = read_checked(tmp_path / "a.pt", problem())
    assert batch.x.dtype == batch.y.dtype == torch.float32
    torch.testing.assert_close(batch.x, pairs.x, atol=1e-3, rtol=0)


def spoiled(pairs, which, change):
    x, y = pairs.x.clone(), pairs.y.clone()
    change({"x": x, "y": y}[which])
    return x, y


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        ("x", lambda v: v[7, 0, 3].fill_(float("nan")), "x is not finite in 1 of 40 pairs, first in number 7"),
        ("y", lambda v: v[5:7, 0, 3].fill_(float("inf")), "y is not finite in 2 of 40 pairs, first in number 5"),
        ("x", lambda v: v.mul_(2), r"x leaves its range in \d+ of 40 pairs \(it spans.*set data.range"),
        ("x", lambda v: v[9, 1].sub_(1), r"x leaves its range in 1 of 40 pairs .*first in number 9"),
        ("x", lambda v: v[4, 1].copy_(0.5 + 0.5 * torch.sin(torch.linspace(0, 20, 50))),
         r"1 of 40 pairs have a line that is not straight \(\|Pearson\| <= 0.9\), first number 4"),
        ("x", lambda v: v[11:].copy_(v[11:].flip(-1)), "x0 rises in 29 and falls in 11 pairs; expected one of them"),
        ("x", lambda v: v[:, 1].copy_(torch.where(torch.arange(40)[:, None] == 3, v[:, 1].flip(-1), v[:, 1])),
         "x1 rises in 39 and falls in 1 pairs"),
    ],
    ids=["nan in x", "inf in y", "scaled", "shifted", "bent", "mixed", "one reversed"],
)  # fmt: skip
def test_contents_that_are_no_pairs_are_refused(problem, pairs, tmp_path, which, change, message):
    path = tmp_path / "a.pt"
    save(path, *spoiled(pairs, which, change))
    with pytest.raises(ValueError, match=rf"a\.pt: {message}"):
        read_checked(path, problem())


def test_a_flat_line_is_straight_but_excuses_no_bent_one_beside_it(problem, generator, tmp_path):
    problem = problem()
    x, _ = simulate(problem, 5, generator)
    x[2, 0] = 0.5
    save(tmp_path / "flat.pt", x, problem.forward(x))
    assert torch.equal(read_checked(tmp_path / "flat.pt", problem).x, x)
    x[2, 1] = 0.5 + 0.5 * torch.sin(torch.linspace(0, 20, 50))
    save(tmp_path / "bent.pt", x, problem.forward(x))
    with pytest.raises(ValueError, match="1 of 5 pairs have a line that is not straight"):
        read_checked(tmp_path / "bent.pt", problem)


def test_reversed_directions_are_found_and_said(problem, pairs, tmp_path, caplog):
    path = tmp_path / "a.pt"
    source = PairFiles(save(path, pairs.x.flip(1), pairs.y), held_out=5)
    with caplog.at_level(logging.WARNING):
        assert source.look(problem()).directions == ["rising", "falling"]
    assert (
        f"{path}: its lines are rising, falling, not falling, rising as data.directions says; "
        "the directions of the data are used."
    ) in caplog.text
    found = problem(directions=["rising", "falling"])
    x, y = source.load(found, seed=0).train
    assert found.check(x[:, None], y).straightness.min() > 0.99


def test_reversed_directions_that_were_not_taken_up_are_refused(problem, pairs, tmp_path):
    save(tmp_path / "a.pt", pairs.x.flip(1), pairs.y)
    with pytest.raises(
        ValueError,
        match=r"a\.pt: its lines are rising, falling, but those of the problem are falling, rising; set "
        r"data\.directions=\[rising,falling\]",
    ):
        read_checked(tmp_path / "a.pt", problem())


def test_the_right_directions_are_passed_over_in_silence(problem, pairs, tmp_path, caplog):
    source = PairFiles(save(tmp_path / "a.pt", *pairs))
    with caplog.at_level(logging.WARNING):
        looked = source.look(problem())
        read_checked(tmp_path / "a.pt", problem())
    assert not caplog.records
    assert looked.directions == ["falling", "rising"]
    assert torch.equal(looked.y, pairs.y)


def test_flat_lines_alone_keep_the_direction_of_the_config(problem, tmp_path):
    problem = problem()
    x = torch.full((3, 2, 50), 0.5)
    path = save(tmp_path / "a.pt", x, problem.forward(x))
    assert PairFiles(path).look(problem).directions == ["falling", "rising"]
    assert torch.equal(read_checked(tmp_path / "a.pt", problem).x, x)


def test_another_function_is_an_error_with_its_name_and_rmse(problem, pairs, tmp_path):
    path = tmp_path / "a.pt"
    save(path, *pairs)
    a, b = pairs.x.double().numpy().transpose(1, 0, 2)
    rmse = np.sqrt(np.mean((a + b - a * b) ** 2))
    with pytest.raises(ValueError, match=rf"a\.pt: y differs from data.forward x0 \+ x1, RMSE {rmse:.3g}\. Name the"):
        read_checked(path, problem("x0 + x1"))


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_another_function_is_noticed_in_any_unit(problem, tmp_path, generator, unit):
    made = problem(range=(0, unit), rmse=0.05 * unit**2)
    save(tmp_path / "a.pt", *simulate(made, 20, generator))
    read_checked(tmp_path / "a.pt", made)
    with pytest.raises(ValueError, match=r"y differs from data\.forward"):
        read_checked(tmp_path / "a.pt", problem("x0 * x1 * 1.01", range=(0, unit), rmse=0.05 * unit**2))


def test_trusted_y_may_differ_and_is_kept_with_a_warning(problem, pairs, tmp_path, caplog):
    noisy = pairs.y + 0.05
    save(tmp_path / "a.pt", pairs.x, noisy)
    with caplog.at_level(logging.WARNING):
        batch = read_checked(tmp_path / "a.pt", problem(), trust_y=True)
    assert torch.equal(batch.y, noisy)
    assert "y differs from data.forward x0 * x1, RMSE 0.05; kept, since data.source.trust_y is true" in caplog.text


# --- splitting


def numbers(split):
    return sorted(split.x[:, 0, 0].tolist())


def test_held_out_pairs_are_taken_from_training_without_overlap(problem, pairs, tmp_path):
    path = save(tmp_path / "a.pt", *pairs)
    splits = PairFiles(path, held_out=5).load(problem(), seed=0)
    assert [len(split.x) for split in splits] == [30, 5, 5]
    assert sorted(chain(*map(numbers, splits))) == numbers(pairs)
    for split in splits:
        torch.testing.assert_close(split.y, problem().forward(split.x))


def test_holding_out_depends_on_the_seed_alone(problem, pairs, tmp_path):
    source = PairFiles(save(tmp_path / "a.pt", *pairs), held_out=5)
    first, again, other = (numbers(source.load(problem(), seed).test) for seed in (0, 0, 1))
    assert first == again != other


def test_files_of_their_own_are_used_whole(problem, pairs, tmp_path):
    parts = {name: Batch(pairs.x[cut], pairs.y[cut]) for name, cut in
             {"train": slice(20), "validation": slice(20, 32), "test": slice(32, 40)}.items()}  # fmt: skip
    paths = {name: save(tmp_path / f"{name}.pt", *part) for name, part in parts.items()}
    splits = PairFiles(**paths).load(problem(), seed=0)
    assert all(torch.equal(split.x, part.x) for split, part in zip(splits, parts.values(), strict=True))
    paths.pop("test")
    splits = PairFiles(**paths, held_out=3).load(problem(), seed=0)
    assert [len(split.x) for split in splits] == [17, 12, 3]
    assert not set(numbers(splits.train)) & set(numbers(splits.test))


def test_too_few_pairs_to_hold_out_is_an_error(problem, pairs, tmp_path):
    path = save(tmp_path / "a.pt", *pairs)
    with pytest.raises(
        ValueError, match=r"40 pairs are too few to hold out 40 for validation and test; lower data.source.held_out"
    ):
        PairFiles(path, held_out=20).load(problem(), seed=0)


def test_splits_of_different_directions_are_refused(problem, pairs, tmp_path):
    train = save(tmp_path / "train.pt", *pairs)
    test = save(tmp_path / "test.pt", pairs.x.flip(1), pairs.y)
    with pytest.raises(
        ValueError, match=r"test\.pt: its lines are rising, falling, but those of the problem are falling, rising"
    ):
        PairFiles(train, test=test, held_out=5).load(problem(), seed=0)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", ["a.pt", "sub/../a.pt", "link.pt"])
def test_the_file_that_is_learned_from_cannot_be_measured_on(problem, pairs, tmp_path, split, name):
    path = save(tmp_path / "a.pt", *pairs)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.pt").symlink_to(path)
    with pytest.raises(ValueError, match=rf"data\.source\.{split} is .*{name}, the file that is learned from"):
        PairFiles(path, **{split: str(tmp_path / name)})


def test_one_file_for_validation_and_test_is_said(problem, pairs, tmp_path, caplog):
    path, other = save(tmp_path / "a.pt", *pairs), save(tmp_path / "b.pt", *pairs)
    PairFiles(path, validation=other, test=other)
    assert "data.source.validation and data.source.test are one file" in caplog.text


def test_a_missing_file_is_named(problem, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt: no such file"):
        PairFiles(str(tmp_path / "nowhere.pt")).load(problem(), seed=0)


def test_no_file_to_learn_from_is_said():
    with pytest.raises(ValueError, match=r"data\.source\.train names no file; set data\.source\.train=PATH"):
        PairFiles(None)


@pytest.mark.parametrize(("trust_y", "exact"), [(False, True), (True, False)])
def test_where_y_is_trusted_x_is_no_exact_solution(tmp_path, trust_y, exact):
    assert PairFiles(str(tmp_path / "a.pt"), trust_y=trust_y).exact is exact


# --- vectors


@pytest.fixture
def ring(vector_problem):
    return vector_problem("x0**2 + x1**2", "x0 * x1", bounds=[[-1, 1], [0, 2]])


def test_simulated_vectors_are_in_their_box_and_y_is_f_of_x(ring, generator):
    x, y = simulate(ring, 500, generator)
    assert x.shape == y.shape == (500, 2)
    assert ring.check(x[:, None], y).valid.all()
    a, b = x.double().numpy().T
    np.testing.assert_allclose(y.numpy(), np.stack([a**2 + b**2, a * b], axis=1), atol=1e-5)


def test_a_vector_where_f_is_not_finite_is_shown_with_its_entries(vector_problem, generator):
    number = r"-?[\d.e-]+"
    with pytest.raises(ValueError, match=rf"first for x0 {number}, x1 {number}\. Change the expression or data\."):
        simulate(vector_problem("log(x0)"), 10, generator)


@pytest.mark.parametrize("suffix", ["npz", "pt", "pairs.pt"])
def test_files_of_vectors_are_read_and_split(ring, generator, tmp_path, suffix):
    x, y = simulate(ring, 40, generator)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x.numpy(), y=y.numpy())
    else:
        torch.save(TensorDataset(x, y) if suffix == "pt" else list(zip(x, y, strict=True)), path)
    source = PairFiles(str(path), held_out=5)
    looked = source.look(ring)
    assert looked.directions is None
    assert torch.equal(looked.y, y)
    splits = source.load(ring, seed=0)
    assert [len(split.x) for split in splits] == [30, 5, 5]
    found = torch.cat([split.x for split in splits])
    assert sorted(found.tolist()) == sorted(x.tolist())
    for split in splits:
        torch.testing.assert_close(split.y, ring.forward(split.x))


def test_a_single_value_may_come_without_an_axis_of_its_own(vector_problem, generator, tmp_path):
    problem = vector_problem("x0 * x1")
    x, y = simulate(problem, 8, generator)
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=y[:, 0].numpy())
    assert torch.equal(read_checked(tmp_path / "a.npz", problem).y, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (x[:, :1], y),
            r"x has shape \(40, 1\); expected \(count, 2\), since data\.bounds has 2",
        ),
        (lambda x, y: (x[:, None], y), r"x has shape \(40, 1, 2\); expected \(count, 2\)"),
        (lambda x, y: (x, y[:, :1]), r"y has shape \(40, 1\); expected \(count, 2\), the values of data\.forward"),
        (lambda x, y: (x, y[:30]), r"x \(40, 2\) and y \(30, 2\) must be as many"),
        (lambda x, y: (x + 1.5, y), r"x leaves its range in \d+ of 40 pairs .*set data\.bounds"),
        (
            lambda x, y: (x, y + 1),
            r"y differs from data\.forward x0\*\*2 \+ x1\*\*2, x0 \* x1, RMSE 1\. Name",
        ),
        (lambda x, y: (x / 0, y), "x is not finite in 40 of 40 pairs"),
    ],
    ids=["too few parameters", "an axis too many", "too few values", "fewer y", "outside", "another f", "not finite"],
)
def test_files_that_are_no_pairs_of_vectors_are_refused(ring, generator, tmp_path, change, message):
    x, y = change(*simulate(ring, 40, generator))
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=y.numpy())
    with pytest.raises(ValueError, match=rf"a\.npz: {message}"):
        read_checked(tmp_path / "a.npz", ring)
