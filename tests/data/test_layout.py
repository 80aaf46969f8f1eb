import pytest
import torch

from cvae.data.layout import arrange_condition, arrange_x, arrange_y, challenge_x, challenge_y, to_challenge

POINTS = 7


@pytest.fixture
def x(generator):
    return torch.rand(6, 2, 50, generator=generator)


def test_to_challenge_puts_points_before_lines(x):
    found = to_challenge(x)
    assert found.shape == (6, 1, 50, 2)
    for n, line, point in [(0, 0, 0), (3, 1, 7), (5, 0, 49)]:
        assert found[n, 0, point, line] == x[n, line, point]


@pytest.mark.parametrize("layout", [to_challenge, lambda x: x.transpose(1, 2), lambda x: x, lambda x: x.unsqueeze(1)])
def test_every_layout_of_x_is_understood(layout, x, problem):
    assert torch.equal(arrange_x(layout(x), problem()), x)


@pytest.mark.parametrize("shape", [(6, 50), (6, 3, 50), (6, 2, 49), (6, 2, 50, 2), (100,), ()])
def test_another_shape_of_x_is_refused(shape, problem):
    with pytest.raises(ValueError, match=r"x has shape .*; expected \(count, 1, 50, 2\), that is 50 points of 2 lines"):
        arrange_x(torch.zeros(shape), problem())


@pytest.mark.parametrize("layout", [to_challenge, lambda y: y.transpose(1, 2), lambda y: y, lambda y: y.unsqueeze(1)])
@pytest.mark.parametrize("conditions", [1, 2])
def test_every_layout_of_y_is_understood(layout, conditions, x, problem):
    y = x[:, :conditions]
    assert torch.equal(arrange_y(layout(y), problem(*["x0"] * conditions)), y)


def test_a_single_condition_may_come_without_a_dimension_of_its_own(x, problem):
    assert torch.equal(arrange_y(x[:, 0], problem()), x[:, :1])


@pytest.mark.parametrize(
    ("shape", "conditions", "message"),
    [
        ((6, 49), 1, r"y has shape \(6, 49\); expected \(count, 50, 1\) or \(count, 50\)"),
        ((6, 50), 2, r"y has shape \(6, 50\); expected \(count, 50, 2\), that is 50 points of 2 condition"),
        ((6, 2, 50), 1, r"y has shape \(6, 2, 50\)"),
        ((6, 2, 50, 1), 1, r"y has shape \(6, 2, 50, 1\)"),
    ],
)
def test_another_shape_of_y_is_refused(shape, conditions, message, problem):
    with pytest.raises(ValueError, match=message):
        arrange_y(torch.zeros(shape), problem(*["x0"] * conditions))


# --- one or many conditions


def test_single_curves_are_read_from_any_shape(problem, generator):
    single, one = problem(points=POINTS), torch.rand(3, 1, POINTS, generator=generator)
    for values in (one, one[:, 0], one[:, 0].T, one.transpose(1, 2), one.transpose(1, 2).unsqueeze(1)):
        assert torch.equal(arrange_condition(values, single), one)
    for values in (one[0, 0], one[0], one[0].T):
        assert torch.equal(arrange_condition(values, single), one[:1])


def test_several_curves_are_read_from_any_shape(problem, generator):
    double, two = problem("x0", "x1", points=POINTS), torch.rand(3, 2, POINTS, generator=generator)
    for values in (two, two.transpose(1, 2), two.transpose(1, 2).unsqueeze(1)):
        assert torch.equal(arrange_condition(values, double), two)
    for values in (two[0], two[0].T):
        assert torch.equal(arrange_condition(values, double), two[:1])


def test_a_shape_that_can_be_read_in_two_ways_is_refused(problem):
    single, many = problem(points=POINTS), problem(*["x0"] * POINTS, points=POINTS)
    with pytest.raises(ValueError, match="two ways"):
        arrange_condition(torch.rand(POINTS, POINTS), single)
    with pytest.raises(ValueError, match="two ways"):
        arrange_condition(torch.rand(4, POINTS, POINTS), many)
    # what the message recommends is accepted
    assert arrange_condition(torch.rand(POINTS, 1, POINTS, 1), single).shape == (POINTS, 1, POINTS)


@pytest.mark.parametrize("shape", [(), (8,), (3, 8), (0, POINTS), (3, 2, POINTS), (3, 2, POINTS, 1), (1, 1, 1, 1, 1)])
def test_another_shape_is_refused_with_the_expected_ones(shape, problem):
    with pytest.raises(ValueError, match=r"y has shape .* expected one of .*\(7,\)"):
        arrange_condition(torch.rand(shape), problem(points=POINTS))


# --- vectors


@pytest.fixture
def three(vector_problem):
    """Three values of two parameters."""
    return vector_problem("x0", "x1", "x0 * x1")


def test_vectors_are_taken_as_they_are(three, vector_problem, generator):
    x, y = torch.rand(6, 2, generator=generator), torch.rand(6, 3, generator=generator)
    assert torch.equal(arrange_x(x, three), x)
    assert torch.equal(arrange_y(y, three), y)
    assert torch.equal(arrange_condition(y, three), y)
    assert torch.equal(arrange_condition(y[0], three), y[:1])
    single = vector_problem("x0")
    for values in (y[:, :1], y[:, 0]):
        assert torch.equal(arrange_y(values, single), y[:, :1])
        assert torch.equal(arrange_condition(values, single), y[:, :1])
    assert torch.equal(arrange_condition(y[0, :1], single), y[:1, :1])


def test_three_conditions_of_three_values_are_rows(three, generator):
    y = torch.rand(3, 3, generator=generator)
    assert torch.equal(arrange_condition(y, three), y)


@pytest.mark.parametrize("shape", [(), (2,), (6, 3), (6, 1, 2), (2, 6)])
def test_vectors_of_another_shape_are_refused(three, shape):
    with pytest.raises(ValueError, match=r"x has shape .*; expected \(count, 2\), since data.bounds has 2 parameter"):
        arrange_x(torch.zeros(shape), three)


@pytest.mark.parametrize("shape", [(), (6,), (6, 2), (6, 1, 3), (3, 6)])
def test_values_of_another_shape_are_refused(three, shape):
    for arrange in (arrange_y, arrange_condition):
        with pytest.raises(ValueError, match=r"y has shape .*; expected \(count, 3\), the values of data.forward"):
            arrange(torch.zeros(shape), three)


# --- the challenge's files


def test_each_condition_is_repeated_for_its_draws(x):
    one = challenge_y(x[:, :1], 3)
    assert one.shape == (18, 50)
    assert torch.equal(one[4], x[1, 0])
    two = challenge_y(x, 3)
    assert two.shape == (18, 1, 50, 2)
    assert torch.equal(two[4, 0, :, 1], x[1, 1])
    vectors = challenge_y(x[:, 0, :3], 2)
    assert torch.equal(vectors, x[:, 0, :3].repeat_interleave(2, 0))


def test_solutions_are_written_in_the_layout_of_the_challenge(x):
    assert torch.equal(challenge_x(x), to_challenge(x))
    assert torch.equal(challenge_x(x[:, 0, :3]), x[:, 0, :3])
