"""Where a study lives: a journal file that any number of processes may append to, or a database."""

from __future__ import annotations

import json
import time
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import IntegrityError, OperationalError

from cvae.search.alive import DEFAULT
from cvae.search.definition import Definition

JOURNAL = "study.log"
#: entry of the study that tells whoever joins what it is about
IDENTITY = "identity"
#: seconds that a process waits for the one that has just created the study to describe it
PATIENCE = 30.0


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """The journal in ``folder``, or the database at ``url``.

    Raises:
        ValueError: for a database that cannot be reached; the message leaves out a password.
    """
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        # whole, since the lock is a link to it
        path = (folder / JOURNAL).resolve()
        _mend(path)
        return JournalStorage(JournalFileBackend(str(path)))
    scheme = str(url).split("://", maxsplit=1)[0]
    try:
        try:
            return _database(url)
        except (IntegrityError, OperationalError):
            # processes that start at once both make the tables of a new database; the slower one finds them now
            time.sleep(1.0)
            return _database(url)
    except Exception as error:  # whatever the database's driver raises
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(
            f"storage cannot be opened ({scheme}): {reason.replace(str(url), scheme)} It must be the URL of a database "
            "that exists, such as sqlite:////path/studies.db, and its driver must be installed."
        ) from error


def _database(url: str) -> RDBStorage:
    # a connection that a server has closed meanwhile is opened anew
    return RDBStorage(str(url), engine_kwargs={"pool_pre_ping": True})


def open_study(
    storage: BaseStorage, name: str, definition: Definition, sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner, folder: Path,
) -> optuna.Study:  # fmt: skip
    """Create a study, with the present settings as its first trial, or join the one that is there.

    Raises:
        ValueError: if the study that is there is about something else, or ``folder`` has trials of another one.
    """
    # looked for first: to a journal, an attempt to create it would be added
    if name not in optuna.get_all_study_names(storage):
        try:
            return _create(storage, name, definition, sampler, pruner, folder)
        except optuna.exceptions.DuplicatedStudyError:
            pass  # another process was faster
    study = optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)
    _check_identity(study, definition)
    return study


def _create(
    storage: BaseStorage, name: str, definition: Definition, sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner, folder: Path,
) -> optuna.Study:  # fmt: skip
    study = optuna.create_study(
        storage=storage, study_name=name, sampler=sampler, pruner=pruner,
        direction="maximize" if definition.mode == "max" else "minimize",
    )  # fmt: skip
    if any((folder / "trials").glob("*")):
        optuna.delete_study(study_name=name, storage=storage)
        raise ValueError(f"{folder} holds trials of another study; name another, study=..., or move it away.")
    study.enqueue_trial(definition.first, user_attrs={DEFAULT: True})
    # last, so that whoever finds it finds a study that is complete
    study.set_user_attr(IDENTITY, json.dumps(definition.identity(), default=str))
    return study


def _check_identity(study: optuna.Study, definition: Definition) -> None:
    waited = 0.0
    while IDENTITY not in study.user_attrs:
        if waited > PATIENCE:
            raise ValueError(f"study {study.study_name!r} was not made by this search; name another, study=...")
        time.sleep(0.2)
        waited += 0.2
    there = json.loads(study.user_attrs[IDENTITY])
    here = json.loads(json.dumps(definition.identity(), default=str))
    changed = [name for name in [*there, *(set(here) - set(there))] if there.get(name) != here.get(name)]
    if changed:
        shown = "; ".join(f"{name}: {there.get(name)!r} then, {here.get(name)!r} now" for name in changed[:3])
        more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"study {study.study_name!r} was begun with other settings, so that its trials do not compare with new "
            f"ones ({shown}{more}). Nothing was changed: use the old settings, or name another study, study=..."
        )


def _mend(path: Path) -> None:
    """Cut off a last line that a killed process or a full disk left incomplete, which would spoil the next one."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() == 0:
            return
        file.seek(-1, 2)
        if file.read(1) == b"\n":
            return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()
