"""Python's collector of garbage, paused while what comes is there to stay.

Knows nothing of what is done meanwhile.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_is_paused = False


@contextmanager
def paused() -> Iterator[None]:
    """Have nobody look for garbage: boto's modules are none, and would be gone through often.

    Where it is off already it stays so: by a project's wish, or for a thread that will end this.
    """
    if not gc.isenabled():
        yield
        return
    _pause()
    try:
        yield
    finally:
        _resume()


def _pause() -> None:
    global _is_paused  # noqa: PLW0603 - the collector is one for the process
    _is_paused = True
    gc.disable()


def _resume() -> None:
    global _is_paused  # noqa: PLW0603 - as above
    if not _is_paused:
        return
    _is_paused = False
    if not gc.get_freeze_count():  # else they are a project's own, which stay frozen
        gc.freeze()
        gc.unfreeze()  # All is now of the oldest generation, as it would be, and unsearched.
    gc.enable()


os.register_at_fork(after_in_child=_resume)  # A thread that paused it is not there to end that.
