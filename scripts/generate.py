"""Generate solutions: ``python scripts/generate.py``, the same as ``cvae generate`` (:mod:`cvae.commands.generate`)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("generate")
