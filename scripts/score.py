"""Score a file of solutions: ``python scripts/score.py``, the same as ``cvae score`` (:mod:`cvae.commands.score`)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("score")
