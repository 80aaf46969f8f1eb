"""Classifiers of real digits, by which drawn ones are judged."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvae.archives import cached, save
from cvae.data.batches import Batch
from cvae.seeds import Purpose, stream

log = logging.getLogger(__name__)

#: of the training; counts up when the network or its training changes, so that no cache serves old weights
VERSION = 1
EPOCHS, BATCH, RATE = 5, 128, 2e-3


class SupportVectors:
    """Support vector machine of scikit-learn, for small images.

    Args:
        pairs: real images and their one-hot classes.
    """

    def __init__(self, pairs: Batch) -> None:
        # scikit-learn takes a second to import
        from sklearn.svm import SVC

        self.machine = SVC(C=10.0, gamma="scale")
        self.machine.fit(pairs.x.flatten(1).cpu().numpy(), pairs.y.argmax(1).cpu().numpy())

    def __call__(self, x: Tensor) -> Tensor:
        """Images ``(count, side, side)`` to classes ``(count,)``."""
        return torch.as_tensor(self.machine.predict(x.flatten(1).cpu().numpy()), device=x.device)


class SmallCNN(nn.Module):
    """A small convolutional network for images of 28 x 28.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(count, 28, 28)`` to classes ``(count,)``."""
        return self.logits(x).argmax(1)

    def logits(self, x: Tensor) -> Tensor:
        """Images ``(count, 28, 28)`` to logits ``(count, classes)``."""
        return self.layers(x.unsqueeze(1))


def trained_cnn(pairs: Batch, folder: str | Path | None) -> SmallCNN:
    """A network trained on real images, kept on disk under a hash of them.

    Args:
        pairs: images ``(count, 28, 28)`` and their one-hot classes.
        folder: where to keep its weights; None keeps nothing.
    """
    # nothing of the run that is going on may depend on it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallCNN(pairs.y.shape[1])
        path = None if folder is None else Path(folder) / f"classifier-{_digest(pairs)}.pt"
        stored = None if path is None else cached(path, lambda content: _fits(content, network))
        if stored is not None:
            network.load_state_dict(stored)
            return network.eval()
        log.info("training the classifier that judges the draws on %d real images, about a minute.", len(pairs.x))
        _train(network, pairs)
    if path is not None:
        save(path, network.state_dict())
    return network.eval()


def _fits(weights: Any, network: SmallCNN) -> bool:
    """Whether a file holds weights of this network, all finite."""
    expected = {name: values.shape for name, values in network.state_dict().items()}
    return {name: values.shape for name, values in weights.items()} == expected and all(
        bool(values.isfinite().all()) for values in weights.values()
    )


def _train(network: SmallCNN, pairs: Batch) -> None:
    labels, generator = pairs.y.argmax(1), stream(Purpose.CLASSIFIER, 0)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    network.train()
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for index in torch.randperm(len(labels), generator=generator).split(BATCH):
                loss = nn.functional.cross_entropy(network.logits(pairs.x[index]), labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()


def _digest(pairs: Batch) -> str:
    found = hashlib.sha256(f"{VERSION} {tuple(pairs.x.shape)}".encode())
    for part in pairs:
        found.update(part.contiguous().numpy().tobytes())
    return found.hexdigest()[:24]
