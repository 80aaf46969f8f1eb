"""Search for hyperparameters: ``python scripts/tune.py``, the same as ``cvae tune`` (:mod:`cvae.commands.tune`)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("tune")
