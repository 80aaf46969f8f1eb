"""What hostile inputs are made from, trained once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.good import Good, prepare


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    """The small runs; nothing of them lies in the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield prepare(tmp_path_factory.mktemp("good"))
