import gzip
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cvae.data import MNIST, SmallDigits
from cvae.data.digits import read_mnist, traversal
from cvae.errors import UserError
from cvae.networks import ProbabilitiesHead, dense

SHARED = Path(os.environ.get("CVAE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "mnist"
needs_mnist = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the files of MNIST are not in {SHARED}")


@pytest.fixture(scope="module")
def small():
    return SmallDigits(batch_size=16, trials=16, evaluation={"validation": 30, "test": 45})


def test_the_splits_of_the_small_digits_share_no_image_and_hold_them_all(small):
    parts = [torch.cat([split.x.flatten(1) * 16, split.y.argmax(1, keepdim=True)], 1) for split in small.splits]
    assert [len(part) for part in parts] == [1197, 200, 400]
    found = torch.cat(parts).numpy()
    source = load_digits()
    expected = np.column_stack([source.data, source.target])
    assert np.array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_the_splits_do_not_depend_on_the_seed(small):
    other = SmallDigits(batch_size=16, trials=16, seed=5)
    assert all(torch.equal(one.x, two.x) for one, two in zip(small.splits, other.splits, strict=True))


@pytest.mark.parametrize(("stage", "count"), [("validation", 30), ("test", 45)])
def test_conditions_go_through_the_classes_in_turn(small, stage, count):
    x, y = small.conditions(stage)
    assert y.argmax(1).tolist() == [number % 10 for number in range(count)]
    pairs = {(image.numpy().tobytes(), int(label)) for image, label in zip(x, y.argmax(1), strict=True)}
    known = getattr(small.splits, stage)
    assert pairs <= {
        (image.numpy().tobytes(), int(label)) for image, label in zip(known.x, known.y.argmax(1), strict=True)
    }


@pytest.mark.parametrize("trials", [0, -1])
def test_senseless_trials_are_refused(trials):
    with pytest.raises(UserError, match=f"data.trials is {trials}; it must be at least 1"):
        SmallDigits(batch_size=16, trials=trials)


class Copies:
    """A model that gives digits it was handed, and reconstructs them as they are."""

    device = torch.device("cpu")
    network = None

    def __init__(self, of_class, x_term=2.0, kl=3.0):
        self.of_class, self.x_term, self.kl = of_class, x_term, kl

    def draw(self, y, draws, generator):
        return torch.stack([self.of_class[int(one)][:draws] for one in y.argmax(1)])

    def loss(self, batch):
        return {"x_term": torch.full((len(batch.x),), self.x_term), "kl": torch.full((len(batch.x),), self.kl)}


def report(data, of_class, monkeypatch):
    monkeypatch.setattr(data, "_pictures", lambda model, test: {})
    return data.report(Copies(of_class)).measures


def by_class(pairs, count):
    return [pairs.x[pairs.y[:, one] == 1][:count] for one in range(10)]


def test_real_digits_are_recognised_as_diverse_as_themselves_and_no_copies(small, monkeypatch):
    test = small.splits.test
    found = report(small, by_class(test, 30), monkeypatch)
    assert found["diversity"] == pytest.approx(1, abs=0.05)
    assert found["copies"] < 0.05
    assert found["nearest"] == pytest.approx(found["nearest_real"], rel=0.05)
    assert found["real_accuracy"] > 0.97
    # of 16 trials: 16 * 2 + 3
    assert found["elbo"] == pytest.approx(-35)


def test_training_digits_are_told_as_copies(small, monkeypatch):
    found = report(small, by_class(small.splits.train, 30), monkeypatch)
    assert found["copies"] == 1
    assert found["nearest"] == pytest.approx(0, abs=1e-2)


def test_one_digit_for_each_class_is_told_as_lacking_diversity(small, monkeypatch):
    alike = [images[:1].expand(30, -1, -1) for images in by_class(small.splits.test, 1)]
    assert report(small, alike, monkeypatch)["diversity_lowest"] == pytest.approx(0, abs=1e-3)


def test_the_classifier_tells_wrong_classes(small):
    metric = small.measures("test", 3)["accuracy"]
    x, y = small.conditions("test")
    right, wrong = x.unsqueeze(1), x.roll(1, 0).unsqueeze(1)
    metric.update(small.task.drawn(torch.arange(len(x)), right, y))
    assert metric.compute() > 0.95
    metric.reset()
    metric.update(small.task.drawn(torch.arange(len(x)), wrong, y))
    assert metric.compute() < 0.05


def test_a_traversal_goes_along_two_dimensions_of_the_latent(small, generator):
    torch.manual_seed(0)
    network = dense((8, 8), (10,), 4, [16], True, ProbabilitiesHead((8, 8)))
    pairs = small.splits.validation
    x = traversal(network, pairs)
    assert x.shape == (12, 12, 8, 8)
    posterior = network.encoder(pairs.x, network.y_scaler(pairs.y)).mean
    first, second = posterior.var(0).argsort(descending=True)[:2].tolist()
    u = torch.full((1, 1, 4), 0.5)
    u[..., first], u[..., second] = 0.03, 0.97
    torch.testing.assert_close(x[0, -1], network.draw(pairs.y[:1], u)[0, 0])


def test_mnist_is_read_from_a_folder(write_mnist, tmp_path):
    data = MNIST(str(write_mnist(tmp_path)), batch_size=8)
    assert [len(split.x) for split in data.splits] == [220, 20, 40]
    assert data.splits.test.y.argmax(1).tolist() == [number % 10 for number in range(40)]
    assert 0 <= data.splits.train.x.min() < data.splits.train.x.max() <= 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"side": 8}, "train-images-idx3-ubyte: its images are 8 x 8; expected 28 x 28"),
        ({"labels": 11}, "train-labels-idx1-ubyte: its labels must be from 0 to 9"),
        ({"train": 11}, "11 training images are too few"),
    ],
)
def test_other_files_than_those_of_mnist_are_told(write_mnist, tmp_path, sizes, message):
    with pytest.raises(UserError, match=message):
        MNIST(str(write_mnist(tmp_path, **sizes)), batch_size=8).load()


def test_images_and_labels_that_do_not_go_together_are_told(write_mnist, tmp_path):
    folder = write_mnist(tmp_path)
    shutil.copy(folder / "t10k-labels-idx1-ubyte", folder / "train-labels-idx1-ubyte")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte holds 240 images, but .* 40 labels"):
        read_mnist(folder, "train")


def test_a_missing_file_is_told_with_what_to_do(write_mnist, tmp_path):
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte: no such file.*data\.root=PATH.*data\.download=true"):
        MNIST(str(folder), batch_size=8).load()


def test_a_download_without_torchvision_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match=r"needs torchvision: pip install 'cvae\[mnist\]'"):
        MNIST(str(tmp_path), batch_size=8, download=True).load()


def test_torchvision_is_asked_only_for_files_that_are_missing(write_mnist, tmp_path, monkeypatch):
    folder, asked = write_mnist(tmp_path), []

    class Download:
        def __init__(self, root, download):
            asked.append((root, download))
            self.raw_folder = str(folder)

    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    module = types.ModuleType("torchvision.datasets")
    module.MNIST = Download
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    MNIST(str(folder), batch_size=8, download=True).load()
    assert asked == []
    empty = tmp_path / "empty"
    assert len(MNIST(str(empty), batch_size=8, download=True).load().train.x) == 220
    assert asked == [(str(empty), True)]


@needs_mnist
def test_the_real_files_of_mnist_are_read():
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        x, y = read_mnist(SHARED, name)
        assert x.shape == (count, 28, 28)
        # the published numbers of images of each class
        expected = {"train": [5923, 6742, 5958], "t10k": [980, 1135, 1032]}[name]
        assert y.sum(0)[:3].tolist() == expected
        assert x.max() == 1


@needs_mnist
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_file_of_mnist_gives_one_message(tmp_path, damage):
    for path in SHARED.glob("t10k-*.gz"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0x01
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[:-1000])
    else:
        path.unlink()
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte") as told:
        read_mnist(tmp_path, "t10k")
    assert len(str(told.value).splitlines()) == 1


@needs_mnist
def test_gzipped_and_plain_files_of_mnist_are_read_alike(tmp_path):
    for path in SHARED.glob("t10k-*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    packed, plain = read_mnist(SHARED, "t10k"), read_mnist(tmp_path, "t10k")
    assert torch.equal(packed.x, plain.x)
    assert torch.equal(packed.y, plain.y)
