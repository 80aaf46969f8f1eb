"""Compare runs: ``python scripts/compare.py``, the same as ``cvae compare`` (:mod:`cvae.commands.compare`)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("compare")
