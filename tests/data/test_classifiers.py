import pytest
import torch

from cvae.data import Batch
from cvae.data.classifiers import SupportVectors, trained_cnn


@pytest.fixture
def bars(generator):
    """Images of a bright row, whose place is the class, under noise."""
    labels = torch.arange(240) % 10
    x = 0.3 * torch.rand(240, 28, 28, generator=generator)
    x[torch.arange(240), 2 + 2 * labels] = 1
    return Batch(x, torch.nn.functional.one_hot(labels, 10).float())


def test_support_vectors_learn_classes(bars):
    assert torch.equal(SupportVectors(bars)(bars.x), bars.y.argmax(1))


def test_a_network_is_trained_once_and_kept_as_plain_data(bars, tmp_path, monkeypatch):
    first = trained_cnn(bars, tmp_path)
    (path,) = tmp_path.iterdir()
    assert set(torch.load(path, weights_only=True)) == set(first.state_dict())
    monkeypatch.setattr("cvae.data.classifiers._train", lambda network, pairs: pytest.fail("trained again"))
    second = trained_cnn(bars, tmp_path)
    assert torch.equal(first.logits(bars.x), second.logits(bars.x))


def test_other_images_have_a_network_of_their_own(bars, tmp_path, monkeypatch):
    monkeypatch.setattr("cvae.data.classifiers._train", lambda network, pairs: None)
    trained_cnn(bars, tmp_path)
    trained_cnn(Batch(bars.x.flip(1), bars.y), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_trained_anew(bars, tmp_path, monkeypatch):
    monkeypatch.setattr("cvae.data.classifiers._train", lambda network, pairs: None)
    trained_cnn(bars, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"no weights")
    trained_cnn(bars, tmp_path)
    assert torch.load(path, weights_only=True)


def test_the_training_of_a_classifier_leaves_the_global_generator_alone(bars):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    trained_cnn(Batch(bars.x[:20], bars.y[:20]), None)
    assert torch.equal(torch.rand(3), expected)
