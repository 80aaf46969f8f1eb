import logging
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cvae.data import Batch, LineFiles, Simulation, read_triples, simulate
from cvae.data.layout import to_challenge


@pytest.fixture
def triples(problem, generator):
    """40 exact triples of the product problem."""
    return simulate(problem(), 40, generator)


def save(path, x, y):
    torch.save(TensorDataset(to_challenge(x), to_challenge(y)), path)
    return str(path)


# --- simulation


def test_simulated_y_is_f_of_x(problem, generator):
    x, y = simulate(problem("x0 * x1", "cos(4*x0 + 8*x1)"), 30, generator)
    a, b = x.double().numpy().transpose(1, 0, 2)
    np.testing.assert_allclose(y.numpy(), np.stack([a * b, np.cos(4 * a + 8 * b)], axis=1), atol=1e-5)


def test_simulated_triples_are_valid(problem, generator):
    problem = problem()
    x, y = simulate(problem, 1_000, generator)
    assert x.shape == (1_000, 2, 50)
    assert not x.requires_grad
    check = problem.check(x[:, None], y)
    # a random line may be too flat for its correlation to be seen, hardly ever
    assert check.valid.float().mean() > 0.99


def test_splits_have_their_sizes_and_share_no_triple(problem):
    _, splits = Simulation(30, 20, 10).load(problem(), seed=3)
    assert [len(split.x) for split in splits] == [30, 20, 10]
    ends = [tuple(x[:, [0, -1]].flatten().tolist()) for split in splits for x in split.x]
    assert len(set(ends)) == 60


@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_fixes_the_simulation(problem, seed):
    first, again, other = (Simulation(30, 20, 10).load(problem(), s)[1] for s in (seed, seed, seed + 1))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(first, again, strict=True))
    assert not any(torch.isclose(a.x[0], b.x[0]).all() for a, b in zip(first, other, strict=True))


def test_a_split_does_not_depend_on_the_size_of_another(problem):
    few, many = (Simulation(train, 20, 10).load(problem(), 0)[1] for train in (5, 50))
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
        match=rf"is not finite for {count} simulated solutions, first for lines with the endpoints "
        rf"\[\[{number}, {number}\], \[{number}, {number}\]\]. Change the expression or data.range",
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
    found, batch = read_triples(tmp_path / "a.pt", problem)
    assert found is problem
    assert torch.equal(batch.x, x)
    assert torch.equal(batch.y, y)


def test_pairs_whose_y_is_a_bare_curve_are_read(problem, triples, tmp_path):
    torch.save(list(zip(to_challenge(triples.x), triples.y[:, 0], strict=True)), tmp_path / "a.pt")
    _, batch = read_triples(tmp_path / "a.pt", problem())
    assert torch.equal(batch.y, triples.y)


def test_npz_is_read(problem, triples, tmp_path):
    np.savez(tmp_path / "a.npz", x=triples.x.double().numpy(), y=triples.y[:, 0].double().numpy())
    _, batch = read_triples(tmp_path / "a.npz", problem())
    assert torch.equal(batch.x, triples.x)
    assert torch.equal(batch.y, triples.y)


def test_half_precision_is_close_enough(problem, triples, tmp_path):
    save(tmp_path / "a.pt", triples.x.half(), triples.y.half())
    _, batch = read_triples(tmp_path / "a.pt", problem())
    assert batch.x.dtype == batch.y.dtype == torch.float32
    torch.testing.assert_close(batch.x, triples.x, atol=1e-3, rtol=0)


def spoiled(triples, which, change):
    x, y = triples.x.clone(), triples.y.clone()
    change({"x": x, "y": y}[which])
    return x, y


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        ("x", lambda v: v[7, 0, 3].fill_(float("nan")), "x is not finite in 1 of 40 triples, first in number 7"),
        ("y", lambda v: v[5:7, 0, 3].fill_(float("inf")), "y is not finite in 2 of 40 triples, first in number 5"),
        ("x", lambda v: v.mul_(2), r"x leaves the range \[0.0, 1.0\] in \d+ of 40 triples \(it spans.*set data.range"),
        ("x", lambda v: v[9, 1].sub_(1), r"x leaves the range .* in 1 of 40 triples .*first in number 9"),
        ("x", lambda v: v[4, 1].copy_(v[4, 1].flip(0).sin().mul(v[4, 1]).mul(4).cos().square()),
         r"1 of 40 triples have a line that is not straight \(\|Pearson\| <= 0.9\), first number 4"),
        ("x", lambda v: v[11:].copy_(v[11:].flip(-1)), "x0 rises in 29 and falls in 11 triples; expected one of them"),
        ("x", lambda v: v[:, 1].copy_(torch.where(torch.arange(40)[:, None] == 3, v[:, 1].flip(-1), v[:, 1])),
         "x1 rises in 39 and falls in 1 triples"),
    ],
    ids=["nan in x", "inf in y", "scaled", "shifted", "bent", "mixed", "one reversed"],
)  # fmt: skip
def test_contents_that_are_no_triples_are_refused(problem, triples, tmp_path, which, change, message):
    path = tmp_path / "a.pt"
    save(path, *spoiled(triples, which, change))
    with pytest.raises(ValueError, match=rf"a\.pt: {message}"):
        read_triples(path, problem())


def test_a_flat_line_is_straight_but_excuses_no_bent_one_beside_it(problem, generator, tmp_path):
    problem = problem()
    x, _ = simulate(problem, 5, generator)
    x[2, 0] = 0.5
    save(tmp_path / "flat.pt", x, problem.forward(x))
    assert torch.equal(read_triples(tmp_path / "flat.pt", problem)[1].x, x)
    x[2, 1] = 0.5 + 0.5 * torch.sin(torch.linspace(0, 20, 50))
    save(tmp_path / "bent.pt", x, problem.forward(x))
    with pytest.raises(ValueError, match="1 of 5 triples have a line that is not straight"):
        read_triples(tmp_path / "bent.pt", problem)


def test_reversed_directions_are_found_said_and_used(problem, triples, tmp_path, caplog):
    path = tmp_path / "a.pt"
    save(path, triples.x.flip(1), triples.y)
    with caplog.at_level(logging.WARNING):
        found, batch = read_triples(path, problem("x0 * x1"))
    assert found.geometry.directions == ("rising", "falling")
    assert found.check(batch.x[:, None], batch.y).straightness.min() > 0.99
    assert (
        f"{path}: its lines are rising, falling, not falling, rising as data.directions says; "
        "the directions of the data are used."
    ) in caplog.text


def test_the_right_directions_are_passed_over_in_silence(problem, triples, tmp_path, caplog):
    save(tmp_path / "a.pt", *triples)
    with caplog.at_level(logging.WARNING):
        read_triples(tmp_path / "a.pt", problem())
    assert not caplog.records


def test_flat_lines_alone_keep_the_direction_of_the_config(problem, tmp_path):
    problem = problem()
    x = torch.full((3, 2, 50), 0.5)
    save(tmp_path / "a.pt", x, problem.forward(x))
    assert read_triples(tmp_path / "a.pt", problem)[0].geometry.directions == ("falling", "rising")


def test_another_function_is_an_error_with_its_name_and_rmse(problem, triples, tmp_path):
    path = tmp_path / "a.pt"
    save(path, *triples)
    a, b = triples.x.double().numpy().transpose(1, 0, 2)
    rmse = np.sqrt(np.mean((a + b - a * b) ** 2))
    with pytest.raises(ValueError, match=rf"a\.pt: y differs from data.forward x0 \+ x1, RMSE {rmse:.3g}\. Name the"):
        read_triples(path, problem("x0 + x1"))


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_another_function_is_noticed_in_any_unit(problem, tmp_path, generator, unit):
    made = problem(range=(0, unit), rmse=0.05 * unit**2)
    save(tmp_path / "a.pt", *simulate(made, 20, generator))
    read_triples(tmp_path / "a.pt", made)
    with pytest.raises(ValueError, match=r"y differs from data\.forward"):
        read_triples(tmp_path / "a.pt", problem("x0 * x1 * 1.01", range=(0, unit), rmse=0.05 * unit**2))


def test_trusted_y_may_differ_and_is_kept_with_a_warning(problem, triples, tmp_path, caplog):
    noisy = triples.y + 0.05
    save(tmp_path / "a.pt", triples.x, noisy)
    with caplog.at_level(logging.WARNING):
        _, batch = read_triples(tmp_path / "a.pt", problem(), trust_y=True)
    assert torch.equal(batch.y, noisy)
    assert "y differs from data.forward x0 * x1, RMSE 0.05; kept, since data.trust_y is true" in caplog.text


# --- splitting


def numbers(split):
    return sorted(split.x[:, 0, 0].tolist())


def test_held_out_triples_are_taken_from_training_without_overlap(problem, triples, tmp_path):
    path = save(tmp_path / "a.pt", *triples)
    _, splits = LineFiles(path, held_out=5).load(problem(), seed=0)
    assert [len(split.x) for split in splits] == [30, 5, 5]
    assert sorted(chain(*map(numbers, splits))) == numbers(triples)
    for split in splits:
        torch.testing.assert_close(split.y, problem().forward(split.x))


def test_holding_out_depends_on_the_seed_alone(problem, triples, tmp_path):
    source = LineFiles(save(tmp_path / "a.pt", *triples), held_out=5)
    first, again, other = (numbers(source.load(problem(), seed)[1].test) for seed in (0, 0, 1))
    assert first == again != other


def test_files_of_their_own_are_used_whole(problem, triples, tmp_path):
    parts = {name: Batch(triples.x[cut], triples.y[cut]) for name, cut in
             {"train": slice(20), "validation": slice(20, 32), "test": slice(32, 40)}.items()}  # fmt: skip
    paths = {name: save(tmp_path / f"{name}.pt", *part) for name, part in parts.items()}
    _, splits = LineFiles(**paths).load(problem(), seed=0)
    assert all(torch.equal(split.x, part.x) for split, part in zip(splits, parts.values(), strict=True))
    paths.pop("test")
    _, splits = LineFiles(**paths, held_out=3).load(problem(), seed=0)
    assert [len(split.x) for split in splits] == [17, 12, 3]
    assert not set(numbers(splits.train)) & set(numbers(splits.test))


def test_too_few_triples_to_hold_out_is_an_error(problem, triples, tmp_path):
    path = save(tmp_path / "a.pt", *triples)
    with pytest.raises(
        ValueError, match=r"40 triples are too few to hold out 40 for validation and test; lower data.source.held_out"
    ):
        LineFiles(path, held_out=20).load(problem(), seed=0)


def test_splits_of_different_directions_are_refused(problem, triples, tmp_path):
    train = save(tmp_path / "train.pt", *triples)
    test = save(tmp_path / "test.pt", triples.x.flip(1), triples.y)
    with pytest.raises(
        ValueError, match=r"test\.pt: its lines are rising, falling, but those of .*train\.pt are falling, rising"
    ):
        LineFiles(train, test=test, held_out=5).load(problem(), seed=0)


def test_all_splits_may_have_the_other_directions(problem, triples, tmp_path):
    path = save(tmp_path / "a.pt", triples.x.flip(1), triples.y)
    other = save(tmp_path / "b.pt", triples.x.flip(1), triples.y)
    found, splits = LineFiles(path, validation=other, test=other).load(problem(), seed=0)
    assert found.geometry.directions == ("rising", "falling")
    assert [len(split.x) for split in splits] == [40, 40, 40]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", ["a.pt", "sub/../a.pt", "link.pt"])
def test_the_file_that_is_learned_from_cannot_be_measured_on(problem, triples, tmp_path, split, name):
    path = save(tmp_path / "a.pt", *triples)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.pt").symlink_to(path)
    with pytest.raises(ValueError, match=rf"data\.source\.{split} is .*{name}, the file that is learned from"):
        LineFiles(path, **{split: str(tmp_path / name)})


def test_one_file_for_validation_and_test_is_said(problem, triples, tmp_path, caplog):
    path, other = save(tmp_path / "a.pt", *triples), save(tmp_path / "b.pt", *triples)
    LineFiles(path, validation=other, test=other)
    assert "data.source.validation and data.source.test are one file" in caplog.text


def test_a_missing_file_is_named(problem, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt: no such file"):
        LineFiles(str(tmp_path / "nowhere.pt")).load(problem(), seed=0)
