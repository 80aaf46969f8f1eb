"""Train: ``python train.py model=deep loss=huber``, the same as ``cvae train`` (:mod:`cvae.commands.train`)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("train")
