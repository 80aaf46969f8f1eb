"""A campaign of hostile inputs: what one is, and what becomes of it.

``python -m tests.hostile.campaign`` tries all of them and prints a table; ``family=NAME`` those of one family, and
``sample`` those of the default tests.
"""

from __future__ import annotations

import io
import logging
import os
import random
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from cvae.errors import SMALLER, innermost, user_message

SEED = 20261126
#: seconds that one input may take: of the processor, and in all, on a machine that is busy
WORK_S, PATIENCE_S = 20, 120
#: memory that one input may take beside what the process has, in bytes
MEMORY = 6 << 30
#: words of torch, pickle and errno that say nothing to a user
FOREIGN = (
    "`weights_only`",
    "weights_only=",
    "Errno",
    "pickle",
    "torch.load",
    "Traceback",
    "add_safe_globals",
    "DefaultCPUAllocator",
)

REFUSED, USED = "refused", "used rightly"
ACCEPTED, CRASHED, HUNG, OUTSIDE, MUMBLED = "accepted although wrong", "traceback", "hung", "wrote outside", "foreign"
COLUMNS = (REFUSED, USED, ACCEPTED, CRASHED, HUNG, OUTSIDE, MUMBLED)
BAD = COLUMNS[2:]


class Case(NamedTuple):
    """One input.

    Attributes:
        name: what is wrong with it.
        act: makes the input in an empty folder and uses it; beside that folder lies ``guard``, which is nobody's to
            touch.
        right: whether what ``act`` gives is right; None where the input must be refused.
        things: of which the message of a refusal must name one.
    """

    name: str
    act: Callable[[Path], Any]
    right: Callable[[Any], bool] | None = None
    things: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """What became of an input: one of :data:`COLUMNS`, and what was said or found."""

    column: str
    told: str


class HungError(BaseException):
    """An input that takes too long."""


def judge(case: Case, place: Path) -> Outcome:
    """Try one input in the folder ``place``, which does not exist yet."""
    run, guard = place / "run", place / "guard"
    run.mkdir(parents=True)
    (place / "here").mkdir()
    for folder in (guard, guard / "victim" / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "precious.txt").write_text("precious")
    before = _snapshot(place)
    with _sandbox(place):
        outcome = _tried(case, run)
    after = _snapshot(place)
    changed = [path for path in before | after if before.get(path) != after.get(path)]
    return Outcome(OUTSIDE, f"{changed} after {outcome}") if changed else outcome


@contextmanager
def _sandbox(place: Path) -> Iterator[None]:
    """An environment in which nothing but ``place`` is at hand, and neither time nor memory are endless."""
    cache, limits = os.environ.get("CVAE_CACHE"), resource.getrlimit(resource.RLIMIT_AS)
    os.environ["CVAE_CACHE"] = str(place / "run" / "cache")
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    handlers = {kind: signal.signal(kind, _hang) for kind in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, WORK_S)
    signal.alarm(PATIENCE_S)
    try:
        with chdir(place / "here"):
            yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        if cache is None:
            del os.environ["CVAE_CACHE"]
        else:
            os.environ["CVAE_CACHE"] = cache


def _hang(*_: Any) -> None:
    raise HungError


def _tried(case: Case, run: Path) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            value = case.act(run)
    except HungError:
        return Outcome(HUNG, f"after {WORK_S} s of the processor or {PATIENCE_S} s in all")
    except SystemExit as end:
        # of a command, which says on stderr what is wrong
        message = err.getvalue().partition("error: ")[2] or (str(end.code) if isinstance(end.code, str) else "")
        if end.code in (None, 0) or not message:
            return Outcome(CRASHED, f"ended with {end.code!r} and said {err.getvalue()[-500:]!r}")
    except BaseException as error:
        message = user_message(innermost(error)) or ""
        if not message or isinstance(error, KeyboardInterrupt):
            return Outcome(CRASHED, "".join(traceback.format_exception(error))[-1500:])
    else:
        right = case.right is not None and _holds(case.right, value)
        return Outcome(USED if right else ACCEPTED, repr(value)[:200])
    named = not case.things or any(_names(message, thing) for thing in case.things)
    foreign = [word for word in FOREIGN if word in message]
    if foreign or not named or not message.replace("\n", "").replace("\t", "").isprintable():
        return Outcome(MUMBLED, f"{foreign or 'names nothing' if not named else foreign}: {message!r}")
    return Outcome(REFUSED, message)


def _names(message: str, thing: str) -> bool:
    """Whether a message has a thing whole: ``data`` is not in ``data.points``, but ``data.`` is, and neither is in a
    remedy that is always said."""
    end = "" if thing.endswith(".") else r"(?!\.?\w)"
    return bool(re.search(rf"(?<![\w.]){re.escape(thing)}{end}", message.replace(SMALLER, "")))


def _holds(right: Callable[[Any], bool], value: Any) -> bool:
    # what is read from what a wrong input left may be of any kind
    try:
        return right(value)
    except Exception:
        return False


def _snapshot(place: Path) -> dict[str, Any]:
    """All that lies in ``place`` beside the run's folder: kind, mode and content."""
    found: dict[str, Any] = {}
    for top in place.iterdir():
        for path in [top, *(top.rglob("*") if top.name != "run" and top.is_dir() else ())]:
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[str(path.relative_to(place))] = (status.st_mode, content)
    return found


def tried(cases: Iterable[Case], place: Path) -> Iterator[tuple[Case, Outcome]]:
    """Each case with its outcome; its folder is removed when it was tried."""
    for number, case in enumerate(cases):
        folder = place / str(number)
        yield case, judge(case, folder)
        shutil.rmtree(folder, ignore_errors=True)


def main(words: list[str]) -> int:
    """Print the table of outcomes, and each bad one on stderr; the exit status."""
    from tests.hostile.families import FAMILIES, sampled
    from tests.hostile.good import prepare

    logging.disable(logging.CRITICAL)
    wanted = [word.removeprefix("family=") for word in words if word != "sample"] or list(FAMILIES)
    bad = 0
    print(f"| family | inputs | {' | '.join(COLUMNS)} |\n|---|{'---:|' * (1 + len(COLUMNS))}")
    with tempfile.TemporaryDirectory() as base:
        with redirect_stdout(io.StringIO()):
            good = prepare(Path(base, "good"))
        total: Counter[str] = Counter()
        for family in wanted:
            counts: Counter[str] = Counter()
            cases = sampled(family, good) if "sample" in words else FAMILIES[family](good, random.Random(SEED))
            for case, outcome in tried(cases, Path(base, family)):
                counts[outcome.column] += 1
                if outcome.column in BAD:
                    bad += 1
                    print(f"--- {family}: {case.name}: {outcome.column}: {outcome.told}", file=sys.stderr, flush=True)
            print(_row(family, counts), flush=True)
            total += counts
        print(_row("all", total))
    return int(bad > 0)


def _row(name: str, counts: Counter[str]) -> str:
    return f"| {name} | {counts.total()} | {' | '.join(str(counts[column]) for column in COLUMNS)} |"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
