"""The families of hostile inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from random import Random

from tests.hostile.campaign import SEED, Case
from tests.hostile.checkpoints import continued, loaded, resumed
from tests.hostile.data import caches, contents, files, keeping
from tests.hostile.folders import logs, records, things
from tests.hostile.functions import functions, useless
from tests.hostile.good import Good
from tests.hostile.outputs import outputs, studies
from tests.hostile.settings import commands, entries, shipped
from tests.hostile.tables import idx, tables

Family = Callable[[Good, Random], Iterator[Case]]

FAMILIES: dict[str, Family] = {
    "settings": entries,
    "shipped": shipped,
    "commands": commands,
    "files": files,
    "contents": contents,
    "tables": tables,
    "idx": idx,
    "caches": caches,
    "kept": keeping,
    "checkpoints": loaded,
    "resumed": resumed,
    "continued": continued,
    "things": things,
    "records": records,
    "logs": logs,
    "functions": functions,
    "useless": useless,
    "outputs": outputs,
    "studies": studies,
}
#: inputs of each family in the sample of 200; those that train take half a second each
SAMPLE = {
    "settings": 30,
    "shipped": 16,
    "commands": 14,
    "files": 22,
    "contents": 16,
    "tables": 8,
    "idx": 5,
    "caches": 8,
    "kept": 4,
    "checkpoints": 23,
    "resumed": 8,
    "continued": 6,
    "things": 6,
    "records": 6,
    "logs": 3,
    "functions": 15,
    "useless": 3,
    "outputs": 6,
    "studies": 1,
}


def sampled(family: str, good: Good) -> list[Case]:
    """The inputs of a family in the sample: chosen by a hash of each name, so that a new one changes little of it."""

    def order(case: Case) -> bytes:
        return sha256(f"{SEED} {case.name}".encode(errors="surrogatepass")).digest()

    return sorted(FAMILIES[family](good, Random(SEED)), key=order)[: SAMPLE[family]]
