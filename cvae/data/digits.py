"""Hand-written digits as pairs of an image and its class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from cvae.data.batches import Batch
from cvae.data.classifiers import SupportVectors, trained_cnn
from cvae.data.idx import find_idx, read_idx
from cvae.data.pairs import CountSettings, PairData, Report, Splits, TrainedModel
from cvae.errors import MissingFileError, UserError
from cvae.metrics.images import Classifier, Recognised, diversity, nearest_distance
from cvae.networks import GaussianCVAE
from cvae.seeds import Purpose, stream
from cvae.tasks import Digits
from cvae.tasks.digits import CLASSES

#: draws of each class, and test images, by which diversity and neighbours are measured
DRAWS, REAL = 100, 1_000
#: of the training images of MNIST, one of so many is for validation
HELD_OUT = 12
#: reconstructions shown, and images along each axis of the traversal
RECONSTRUCTED, TRAVERSED = 20, 12


class DigitData(PairData):
    """Images of digits and their classes. The division into training, validation and test is the same for every seed.

    Args:
        batch_size: pairs per step and process.
        trials: of the binomial likelihood of a pixel: the grey value is the share of so many black or white ones; 1 for
            the Bernoulli likelihood. The loss must have it as its weight ``wx``.
        evaluation: the arguments of :class:`~cvae.data.pairs.Counts`; the conditions go through the classes in turn.
        seed: fixes the order of the training pairs.

    Raises:
        UserError: for a number that makes no sense; the message names the entry.
    """

    #: of an image, in pixels
    side: ClassVar[int]
    measured = ("accuracy",)

    def __init__(
        self, batch_size: int, trials: int = 1, evaluation: CountSettings | None = None, seed: int = 0
    ) -> None:
        super().__init__(self.make_task({}), batch_size, evaluation, seed)
        if trials < 1:
            raise UserError(f"data.trials is {trials}; it must be at least 1.")
        self.trials = trials
        self._classifier: Classifier | None = None

    @classmethod
    def make_task(cls, config: Mapping[str, Any]) -> Digits:
        """The task; no entry of the config changes it."""
        return Digits(cls.side)

    @abstractmethod
    def trained_classifier(self, pairs: Batch) -> Classifier:
        """A classifier trained on real digits, on the CPU."""

    @property
    def classifier(self) -> Classifier:
        """Classifier trained on the training pairs, by which draws are judged."""
        if self._classifier is None:
            train = self.splits.train
            self._classifier = self.trained_classifier(Batch(train.x.cpu(), train.y.cpu()))
        return self._classifier

    def conditions(self, stage: str) -> Batch:
        """Pairs of ``stage``, the first of each class, then the second of each, and so on."""
        x, y = getattr(self.splits, stage)
        earlier = (y.cumsum(0) * y).sum(1)
        order = (earlier * CLASSES + y.argmax(1)).argsort()[: getattr(self.counts, stage)]
        return Batch(x[order], y[order])

    def measures(self, stage: str, draws: int) -> MetricCollection:
        """The share of draws in which the classifier sees the digit that was asked for."""
        return MetricCollection({"accuracy": Recognised(self.classifier)})

    @torch.no_grad()
    def report(self, model: TrainedModel) -> Report:
        """Quality of the draws beside real digits, the ELBO of all test pairs, and pictures of the latent.

        Measures:
            real_accuracy: of the classifier on the real test digits.
            diversity, diversity_lowest: :func:`cvae.metrics.images.diversity`, mean and lowest of the classes.
            nearest, nearest_real: median distance of draws, and of test digits, to the nearest training digit.
            copies: share of draws that are nearer to a training digit than 99 % of the test digits are.
            elbo: mean over the test pairs in nats, up to a constant of the data, if the likelihood is in nats.
        """
        train, test = (Batch(part.x.to(model.device), part.y.to(model.device)) for part in self.splits[::2])
        y = torch.eye(CLASSES, device=model.device)
        x = model.draw(y, DRAWS, stream(Purpose.EVALUATION, self.seed, 2))
        classifier = self.classifier
        if isinstance(classifier, nn.Module):
            classifier.to(model.device)
        labels = test.y.argmax(1)
        ratios = diversity(x, test.x[:REAL], labels[:REAL])
        near, near_real = nearest_distance(x.flatten(0, 1), train.x), nearest_distance(test.x[:REAL], train.x)
        measures = {
            "real_accuracy": (classifier(test.x) == labels).float().mean(),
            "diversity": ratios.mean(),
            "diversity_lowest": ratios.min(),
            "nearest": near.median(),
            "nearest_real": near_real.median(),
            "copies": (near < near_real.quantile(0.01)).float().mean(),
            "elbo": self._elbo(model, test),
        }
        return Report({name: float(value) for name, value in measures.items()}, self._pictures(model, test))

    def _elbo(self, model: TrainedModel, pairs: Batch) -> Tensor:
        """Mean ELBO, with one sample of the latent for each pair."""
        terms = [model.loss(Batch(x, y)) for x, y in zip(pairs.x.split(1_000), pairs.y.split(1_000), strict=True)]
        return -torch.cat([self.trials * one["x_term"] + one["kl"] for one in terms]).mean()

    def _pictures(self, model: TrainedModel, test: Batch) -> dict[str, Any]:
        from cvae.tasks.figures import image_figure

        shown = self.conditions("test")
        x, y = (part[:RECONSTRUCTED].to(model.device) for part in shown)
        made = model.network.reconstruct(x, y).x[:, 0]
        figures = {"reconstructions": image_figure(torch.stack([x, made]), "test digits above, reconstructed below")}
        if isinstance(model.network, GaussianCVAE) and model.network.latent_dim > 1:
            images = traversal(model.network, Batch(test.x[:REAL], test.y[:REAL]))
            figures["traversal"] = image_figure(images, "one class, decoded along two dimensions of the latent")
        return figures


def traversal(network: GaussianCVAE, pairs: Batch) -> Tensor:
    """Images ``(rows, columns, side, side)`` of the class of the first pair, along two dimensions of the latent.

    The two are those whose posterior means vary most; they go through the quantiles of the prior, the others stay at
    its median.
    """
    first, second = network.reconstruct(pairs.x, pairs.y).code.var(0).argsort(descending=True)[:2].tolist()
    steps = torch.linspace(0.03, 0.97, TRAVERSED, device=pairs.y.device)
    u = torch.full((TRAVERSED, TRAVERSED, network.noise_dim), 0.5, device=pairs.y.device)
    u[..., first], u[..., second] = steps.unsqueeze(1), steps
    return network.draw(pairs.y[:1], u.flatten(0, 1).unsqueeze(0))[0].unflatten(0, (TRAVERSED, TRAVERSED))


class SmallDigits(DigitData):
    """The 1,797 digits of 8 x 8 pixels that scikit-learn holds: 400 for test, 200 for validation.

    Arguments as of :class:`DigitData`.
    """

    side = 8

    def load(self) -> Splits:
        """All pairs."""
        # scikit-learn takes a second to import
        from sklearn.datasets import load_digits

        found = load_digits()
        x = torch.as_tensor(found.images).float() / 16
        order = torch.randperm(len(x), generator=stream(Purpose.HELD_OUT, 0))
        test, validation, train = order.split([400, 200, len(x) - 600])
        y = one_hot(torch.as_tensor(found.target))
        return Splits(*(Batch(x[part], y[part]) for part in (train, validation, test)))

    def trained_classifier(self, pairs: Batch) -> Classifier:
        """The classifier of real digits that draws are judged by, trained on ``pairs``."""
        return SupportVectors(pairs)


class MNIST(DigitData):
    """The digits of 28 x 28 pixels from the four idx files of MNIST; 5,000 of those for training are for validation.

    Args:
        root: folder of the files, gzipped or not.
        download: let torchvision download them into ``root`` if they are missing there.
        batch_size, trials, evaluation, seed: see :class:`DigitData`.
        cache: folder in which the classifier is kept; None trains it anew.
    """

    side = 28

    def __init__(
        self,
        root: str,
        batch_size: int,
        trials: int = 1,
        download: bool = False,
        evaluation: CountSettings | None = None,
        cache: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, trials, evaluation, seed)
        self.root, self.download, self.cache = Path(root), download, cache

    def load(self) -> Splits:
        """All pairs, read and checked.

        Raises:
            MissingFileError: for a missing file.
            UserError: for a damaged one.
        """
        try:
            known, test = (read_mnist(self.root, name) for name in ("train", "t10k"))
        except MissingFileError as error:
            if not self.download:
                raise MissingFileError(
                    f"{error} Put the four idx files of MNIST there, name their folder with data.root=PATH, or let "
                    "torchvision download them with data.download=true."
                ) from None
            raw = download_mnist(self.root)
            known, test = (read_mnist(raw, name) for name in ("train", "t10k"))
        held_out = len(known.x) // HELD_OUT
        if held_out < 1:
            raise UserError(f"{self.root}: {len(known.x)} training images are too few; {HELD_OUT} are the least.")
        order = torch.randperm(len(known.x), generator=stream(Purpose.HELD_OUT, 0))
        train, validation = (Batch(known.x[part], known.y[part]) for part in (order[held_out:], order[:held_out]))
        return Splits(train, validation, test)

    def trained_classifier(self, pairs: Batch) -> Classifier:
        """The classifier of real digits that draws are judged by, trained on ``pairs``."""
        return trained_cnn(pairs, self.cache)


def read_mnist(folder: str | Path, name: str) -> Batch:
    """Images in [0, 1] and one-hot classes of the files ``NAME-images-idx3-ubyte`` and ``NAME-labels-idx1-ubyte``.

    Raises:
        MissingFileError: for a missing file.
        UserError: for a damaged one, or images and labels that do not go together.
    """
    paths = [find_idx(folder, f"{name}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if images.shape[1:] != (MNIST.side, MNIST.side):
        raise UserError(f"{paths[0]}: its images are {images.shape[1]} x {images.shape[2]}; expected 28 x 28.")
    if len(images) != len(labels):
        raise UserError(f"{paths[0]} holds {len(images)} images, but {paths[1]} {len(labels)} labels.")
    if len(labels) == 0 or int(labels.max()) >= CLASSES:
        raise UserError(f"{paths[1]}: its labels must be from 0 to 9, and at least one.")
    return Batch(images.float() / 255, one_hot(labels))


def download_mnist(root: Path) -> Path:
    """Let torchvision download MNIST; the folder in which the idx files then lie.

    Raises:
        UserError: if torchvision is not installed.
    """
    try:
        from torchvision.datasets import MNIST as Download  # noqa: N811
    except ImportError:
        raise UserError("data.download=true needs torchvision: pip install 'cvae[mnist]'.") from None
    return Path(Download(str(root), download=True).raw_folder)


def one_hot(labels: Tensor) -> Tensor:
    """Classes ``(count,)`` to one-hot vectors ``(count, 10)``."""
    return nn.functional.one_hot(labels.long(), CLASSES).float()
