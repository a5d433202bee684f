"""A project's own session methods, which Django's contract has the others call.

Each verb has a method for threads and an async twin. Where only the sync one is a project's own,
the async one has it called in a thread, as Django's does.
"""

from typing import Any, Final, Literal

from django.contrib.sessions.backends.base import SessionBase

from sessions_kms.concurrency.waits import BlockingCall, Wait

Verb = Literal["load", "exists", "create", "save", "cycle_key", "delete"]

POOL: Final = "sessions_kms-overrides"  # apart: they may wait for each other, and for what is ours


class Own(Wait):
    """A call of a session's method that may be a project's own."""

    __slots__ = ("_args", "_session", "_verb")

    def __init__(self, session: SessionBase, verb: Verb, args: tuple[Any, ...]) -> None:
        self._session = session
        self._verb = verb
        self._args = args

    def block(self) -> Any:
        """BlockingCall it in this thread."""
        return getattr(self._session, self._verb)(*self._args)

    async def suspend(self) -> Any:
        """Await its twin."""
        return await getattr(self._session, f"a{self._verb}")(*self._args)


def in_a_thread(session: SessionBase, verb: Verb, *args: Any) -> BlockingCall:
    """Return the call of a project's own sync method, in threads of such calls alone."""
    return BlockingCall(getattr(session, verb), args, pool=POOL)


def is_sync_only(of: type, engine: type, verb: Verb) -> bool:
    """Tell whether a subclass of the engine overrides a verb, and not its async twin."""
    return of is not engine and (
        _overrides(of, engine, verb) and not _overrides(of, engine, f"a{verb}")
    )


def is_own(of: type, engine: type, verb: Verb) -> bool:
    """Tell whether a subclass of the engine overrides a verb or its async twin."""
    return of is not engine and (_overrides(of, engine, verb) or _overrides(of, engine, f"a{verb}"))


def _overrides(of: type, engine: type, name: str) -> bool:
    return getattr(of, name) is not getattr(engine, name)
