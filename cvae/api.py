"""A few calls for Python: train, load, generate, score and plot, on the code that the commands run on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from hydra.errors import InstantiationException
from lightning import Callback
from numpy.typing import ArrayLike
from omegaconf import DictConfig
from torch import Tensor

from cvae import generation as stages
from cvae.challenge.score import Scores, score_file, score_solutions
from cvae.config import plain
from cvae.data.files import read_conditions
from cvae.data.layout import arrange_condition
from cvae.data.positions import without_positions
from cvae.errors import MissingFileError, UserError, user_message
from cvae.generation import Draws, Solutions
from cvae.models import Generative
from cvae.runs import folder as folders
from cvae.runs import launch
from cvae.runs.compose import compose, words_of
from cvae.runs.settle import plan_of, task_of
from cvae.show.figures import draw_figures
from cvae.tasks import GenerationTask, Problem, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: of Lightning, which logs tips
TALKATIVE = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.distributed",
)


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: the run's own folder, see the README.
        measures: of the model that was kept, by name: ``val/score``, ``test/valid``, ...
        config: the settled config as plain data.
        checkpoint: the file of the model that was kept; None if none was.
        allow: dotted names that the model may use beside the project's own.
    """

    folder: Path
    measures: dict[str, float]
    config: dict[str, Any]
    checkpoint: Path | None
    allow: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: str | Path, allow: Sequence[str] = ()) -> Run:
        """The finished run in a folder.

        Args:
            folder: of the run.
            allow: dotted names that its checkpoint may use beside the project's own, such as your own forward operator;
                it runs their code.

        Raises:
            cvae.errors.MissingFileError: if there is no run.
            UserError: for one that has not finished, or whose record is damaged.
        """
        folder = Path(folder)
        record = folders.read(folder)
        if record is None:
            raise MissingFileError(f"{folder}: holds no run (a {folders.RESULT}).")
        if record.get("status") != folders.FINISHED:
            raise UserError(f"{folder}: holds a run that is {record.get('status')}, not finished.")
        try:
            measures = {name: math.nan if value is None else float(value) for name, value in record["measures"].items()}
            kept = None if record["checkpoint"] is None else folder / record["checkpoint"]
            config = dict(record["config"])
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: its {folders.RESULT} is damaged ({type(error).__name__}: {error}).") from None
        if kept is not None and not kept.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{folder}: its {folders.RESULT} names the checkpoint {kept}, which lies elsewhere.")
        return cls(folder, measures, config, kept, tuple(allow))

    @cached_property
    def model(self) -> Generative:
        """The model that was kept, on the CPU and in evaluation mode.

        Raises:
            UserError: if none was kept.
        """
        if self.checkpoint is None:
            raise UserError(f"{self.folder}: this run kept no checkpoint.")
        return load_model(self.checkpoint, self.allow)


def load_model(path: str | Path, allow: Sequence[str] = ()) -> Generative:
    """A trained model of any kind from its checkpoint alone; arguments and errors as for :meth:`cvae.CVAE.load`."""
    return Generative.load(path, allow)


def fit(
    overrides: Mapping[str, Any] | Sequence[str] | DictConfig = (),
    *,
    folder: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    verbose: bool = False,
) -> Run:
    """Train a model, as ``cvae train`` does: the config is composed and settled, and the run has a folder of its own.

    A run that is there with the same config is not repeated, and one that was interrupted goes on. The global random
    generators are seeded (``seed``).

    Args:
        overrides: what differs from ``conf/train.yaml``: values by the names of their entries, ``{"data": "lines",
            "data.forward": ["x0 / (x1 + 0.5)"], "trainer.max_epochs": 5}``; or the words of a command line,
            ``["data=two_birds"]``; or a composed config.
        folder: of the run; None makes one below ``outputs/train`` in the current folder.
        callbacks: further ones of Lightning, beside those of the config; not part of the run's identity.
        verbose: whether progress, what was decided and a table are shown; warnings are shown always.

    Raises:
        UserError: for a config that makes no sense; the message names the entry.
        cvae.runs.folder.FolderTakenError: if ``folder`` holds a run with another config.
    """
    strangers = [callback for callback in callbacks if not isinstance(callback, Callback)]
    if strangers:
        raise UserError(f"callbacks holds {strangers[0]!r}; it must be a list of Lightning's callbacks.")
    composed = isinstance(overrides, DictConfig)
    words = [] if composed else words_of(overrides)
    cfg = cast(DictConfig, overrides).copy() if composed else compose("train", words)
    if "run_dir" in cfg:  # not while it is ???
        raise UserError(
            f"run_dir is {cfg.run_dir}, but it is set when the run starts; choose its folder with folder=..."
        )
    if not verbose and cfg.get("callbacks", {}).get("progress") is not None:
        cfg.callbacks.progress = None
    folder = Path(folder) if folder is not None else _new_folder()
    with _talking(verbose):
        try:
            launch.run(cfg, folder, words, callbacks)
        except InstantiationException as error:
            message = user_message(error)
            if message is None:
                raise
            raise UserError(message) from error
    forward = cfg.data.get("forward")
    allow = [forward["_target_"]] if isinstance(forward, DictConfig) else []
    return Run.load(folder, allow)


def generate(
    model: Run | Generative, y: str | Path | ArrayLike | Tensor = (), draws: int = 30, **settings: Any
) -> Solutions | Draws:
    """Solutions for observed conditions, as ``cvae generate`` makes them.

    Args:
        model: a run or its model.
        y: one or many conditions in any shape of :func:`cvae.data.layout.arrange_condition`, such as ``(50,)`` for one
            curve of 50 points, also with a column of positions; or a file of them
            (:func:`cvae.data.files.read_conditions`); of a task without a forward operator its numbers, such as
            classes of digits.
        draws: solutions for each condition.
        settings: ``generation="complete"`` and other entries of ``conf/generate.yaml``, such as ``seed``; and those of
            the group, such as ``candidates=300, refine_steps=15``.

    Returns:
        :class:`~cvae.generation.Solutions`, with ``x`` ``(batch, draws, *x_shape)`` and ``check``, whose ``valid`` is
        ``(batch, draws)``; :class:`~cvae.generation.Draws` without a forward operator.

    Raises:
        UserError: for conditions of another shape, or settings that make no sense.
    """
    model = _model(model)
    group = {"generation": settings.pop("generation", "default"), "seed": settings.pop("seed", 0), "draws": draws}
    entries = {f"generation.{name}": value for name, value in settings.items()}
    plan = plan_of(compose("generate", words_of(group | entries)).generation)
    task = cast(Problem | GenerationTask, model.task)
    return stages.generate(model, task, conditions(task, y), plan)


def plot(
    model: Run | Generative | Problem, y: ArrayLike | Tensor, found: Solutions | Draws, most: int = 4
) -> dict[str, Figure]:
    """Pictures of solutions, by name.

    Args:
        model: a run, its model, or the inverse problem.
        y: the conditions, as for :func:`generate`.
        found: what :func:`generate` found for them.
        most: of how many conditions.
    """
    task = model if isinstance(model, Problem) else _model(model).task
    return draw_figures(task, found.x, conditions(task, y), most)


def score(
    x: str | Path | ArrayLike | Tensor,
    y: ArrayLike | Tensor | None = None,
    *,
    data: str | Mapping[str, Any] | Run | Generative | Problem = "product",
    draws: int = 30,
) -> Scores:
    """Measure solutions of any origin, as ``cvae score`` does.

    Args:
        x: a file of solutions (:func:`cvae.challenge.read_submission`), or solutions ``(batch, draws, *x_shape)``, of
            one condition also ``(draws, *x_shape)``.
        y: their conditions, as for :func:`generate`; not for a file, which holds them.
        data: the inverse problem: a member of ``conf/data``, overrides such as ``{"data": "lines", "data.forward":
            ["x0 * x1 * x1"]}``, or a model or run that was made for it.
        draws: solutions for each condition of a file.

    Raises:
        UserError: for solutions of another shape, or data without a forward operator.
    """
    problem = _problem(data)
    if isinstance(x, str | Path):
        return score_file(x, problem, draws)
    if y is None:
        raise UserError("y is missing; give the conditions of the solutions.")
    given = conditions(problem, y)
    solutions = torch.as_tensor(x).float()
    solutions = solutions.unsqueeze(0) if solutions.dim() == 1 + len(problem.x_shape) else solutions
    if solutions.shape[:1] != given.shape[:1] or solutions.shape[2:] != problem.x_shape:
        raise UserError(
            f"x has shape {tuple(solutions.shape)}; expected ({len(given)}, draws, "
            f"{', '.join(map(str, problem.x_shape))}) for {len(given)} condition(s)."
        )
    return score_solutions(problem, solutions, given)


def conditions(task: Task, y: str | Path | ArrayLike | Tensor) -> Tensor:
    """Conditions ``(batch, *y_shape)`` of a task from what a user has, see :func:`generate`.

    Raises:
        UserError: for another shape, values that are not finite, or where it is not clear whether there are positions
            (:func:`cvae.data.positions.without_positions`).
    """
    if isinstance(y, str | Path):
        if not isinstance(task, Problem):
            raise UserError(f"y is {str(y)!r}; it must be numbers.")
        return read_conditions(y, task)
    values = torch.as_tensor(y)
    if not isinstance(task, Problem):
        return cast(GenerationTask, task).conditions(values.flatten().tolist())
    if not values.isfinite().all():
        raise UserError("y holds values that are not finite.")
    return arrange_condition(without_positions(values.double(), (), task).float(), task)


def _model(model: Run | Generative) -> Generative:
    return model.model if isinstance(model, Run) else model


def _problem(data: str | Mapping[str, Any] | Run | Generative | Problem) -> Problem:
    if isinstance(data, str | Mapping):
        words = words_of({"data": data} if isinstance(data, str) else data)
        task = task_of(plain(compose("score", words).data))
    else:
        task = data if isinstance(data, Problem) else _model(data).task
    if not isinstance(task, Problem):
        raise UserError("data has no forward operator, so solutions cannot be checked; name an inverse problem.")
    return task


def _new_folder() -> Path:
    """A folder that is not there yet, named after the time."""
    name = Path("outputs", "train", time.strftime("%Y-%m-%d_%H-%M-%S"))
    number = 1
    folder = name
    while folder.exists():
        number += 1
        folder = name.with_name(f"{name.name}_{number}")
    return folder


@contextmanager
def _talking(verbose: bool) -> Iterator[None]:
    """Show what is logged as information, or warnings alone; tips of Lightning are not shown."""
    own = logging.getLogger("cvae")
    loggers = [own, *map(logging.getLogger, TALKATIVE)]
    levels = [logger.level for logger in loggers]
    handler = logging.StreamHandler()
    added = verbose and not own.hasHandlers()
    if added:
        own.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.INFO if verbose and logger is own else logging.WARNING)
    try:
        yield
    finally:
        own.removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
