"""The commands of the project: one body for ``cvae NAME``, ``python train.py`` and ``python scripts/NAME.py``."""
