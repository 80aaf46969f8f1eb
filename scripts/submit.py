"""Write a submission bundle: ``python scripts/submit.py``, the same as ``cvae submit`` (``cvae.commands.submit``)."""

from cvae.commands.main import call

if __name__ == "__main__":
    call("submit")
