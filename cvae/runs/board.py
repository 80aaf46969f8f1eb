"""What a person sees in TensorBoard: charts in order, a table of hyperparameters, the command and the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from cvae.command_lines import command
from cvae.config import flatten
from cvae.runs.folder import decisive

#: groups of the config whose chosen member a person compares, and the entries that the challenge asks about
GROUPS = ("data", "model", "loss", "optimizer")
ENTRIES = (
    "optimizer.lr", "data.batch_size", "loss.beta", "loss.wx", "loss.wy", "trainer.max_epochs", "model.latent_dim",
    "seed",
)  # fmt: skip
#: validation measures in the order in which they tell most of a model; those in front of the others, and those behind
TELLING = ("score", "valid", "mode_recall", "coverage_ratio", "coverage", "rmse")
LEAST_TELLING = ("loss", "kl", "information", "active_units", "x_term", "y_term")
HEADLINES = 5


class Board(TensorBoardLogger):
    """TensorBoard's files, in the order in which a person reads them.

    TensorBoard sorts by name, digits first: the charts begin with the measure that the run optimises, then come the
    other validation measures and the training. ``epoch`` and what is measured once, after the training, are left out:
    a chart of one point shows nothing. Its table of hyperparameters shows the first scalars by their bytes, where a
    bracket comes before digits, and of each the newest value: these are measures of the epoch that is kept up to now.

    Args:
        save_dir: the run's folder. The files lie in it and not below, since TensorBoard names a run by its folder.
        headline: the measure that the run optimises.
        purge_step: the step from which on a resumed run replaces what lies there.
    """

    def __init__(self, save_dir: str, headline: str, purge_step: int | None = None) -> None:
        super().__init__(save_dir, name=None, version="", default_hp_metric=False, purge_step=purge_step)
        self.headline = headline

    def tag(self, name: str) -> str | None:
        """The tag of a measure; None for one that has no chart."""
        stage, _, rest = name.partition("/")
        if name == self.headline:
            return f"1 headline/{rest}"
        groups = {"val": "2 validation/", "train": "3 training/", "epoch": None, "test": None}
        group = groups.get(stage, f"{stage}/" if rest else stage)
        return group and group + rest

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log measures, those that have a chart."""
        tagged = {self.tag(name): value for name, value in metrics.items()}
        super().log_metrics({tag: value for tag, value in tagged.items() if tag is not None}, step)

    @rank_zero_only
    def log_kept(self, measures: Mapping[str, float], step: int) -> None:
        """Log the headline measures of the epoch that is kept up to now, given all measures of it."""
        places = {f"val/{name}": place for place, name in enumerate((*TELLING, "", *LEAST_TELLING))}
        known = [name for name in measures if name.startswith("val/")]
        known.sort(key=lambda name: (name != self.headline, places.get(name, len(TELLING))))
        shown = {
            f"(kept)/{rank} {name[len('val/') :]}": measures[name] for rank, name in enumerate(known[:HEADLINES], 1)
        }
        super().log_metrics(shown, step)

    @rank_zero_only
    def log_run(self, settings: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Fill the tables of hyperparameters and the text: the command and the settled config."""
        from torch.utils.tensorboard.summary import hparams

        _, start, _ = hparams(hyperparameters(settings, overrides), {})
        self.experiment._get_file_writer().add_summary(start)
        self.experiment.add_text("1 command", f"    {command('train', overrides)}")
        content = yaml.safe_dump(dict(settings), sort_keys=False)
        self.experiment.add_text("2 settled config", f"```yaml\n{content}```")

    @rank_zero_only
    def save(self) -> None:
        """Write what waits, and no second file of hyperparameters beside the run's own."""
        self.experiment.flush()


def hyperparameters(settings: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, float | str]:
    """What a person compares runs by: chosen members of groups, the entries that the challenge asks about, and what the
    run overrode beside them.

    Args:
        settings: the settled config as plain data.
        overrides: what the user changed; empty where a run was started from Python.
    """
    words = {word.partition("=")[0].lstrip("+~"): word.partition("=")[2] for word in overrides}
    values = flatten(settings)
    found = {group: _member(group, settings, words) for group in GROUPS}
    found |= {name: values[name] for name in ENTRIES if values.get(name) is not None}
    found |= {name: values.get(name, word) for name, word in decisive(words).items() if name not in found}
    return {name: value if isinstance(value, str) or _is_number(value) else str(value) for name, value in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _member(group: str, settings: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The chosen member of a group; where it was left to the recipe or was not chosen by name, what is built."""
    chosen = (settings.get("choices") or {}).get(group) or words.get(group)
    built = str(settings[group]["_target_"]).rpartition(".")[2]
    return built if chosen is None else f"auto ({built})" if chosen == "auto" else str(chosen)
