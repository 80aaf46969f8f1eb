"""A command that a signal ends: one line that says how to go on, and a status that schedulers and ``&&`` understand."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cvae.runs.ranks import rank

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = "re-run the same command."

#: what says how the work that has begun goes on
_advice: list[Callable[[], str]] = []


def advise(advice: Callable[[], str]) -> None:
    """Note what says how the work that begins now goes on, if a signal ends the command."""
    _advice.append(advice)


@contextmanager
def stoppable() -> Iterator[None]:
    """End with a line on stderr and status 128 + N on signal N: 130 on SIGINT (Ctrl-C), 143 on SIGTERM.

    The signal becomes a ``SystemExit`` wherever the main thread is, so that locks and half-written files are tidied up.
    A signal that is ignored, as in a command behind ``nohup``, stays so.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    _advice.clear()
    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    except BaseException as end:
        # also where something has made another error of it
        if not received:
            raise
        if rank() == 0:
            said = end.code if isinstance(end, SystemExit) and isinstance(end.code, str) else None
            line = said or (_advice[-1]() if _advice else AGAIN)
            print(f"stopped by {signal.Signals(received[0]).name}: {line}", file=sys.stderr, flush=True)
        raise SystemExit(128 + received[0]) from None
    finally:
        for number in heard:
            # None for one that is not Python's
            signal.signal(number, before[number] or signal.SIG_DFL)
