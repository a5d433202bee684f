"""The contract's fixtures: the sync methods, and the async ones in an event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.backend import SessionStore

VERBS = ("load", "exists", "create", "save", "cycle_key", "delete", "flush")
VALUES = ("get", "pop", "setdefault", "update", "set_expiry")


def by_twin(name: str) -> Callable[..., Any]:
    """Return a method that has its async twin do what is asked of it."""
    twin = getattr(SessionStore, name)

    def run_to_end(self: SessionStore, *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(twin(self, *args, **kwargs))

    return run_to_end


@pytest.fixture(params=["threads", "event loop"])
def driven(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have what a test asks of sessions done in its thread, or all of it in an event loop."""
    driver: str = request.param
    if driver == "event loop":
        for name in (*VERBS, *VALUES):
            monkeypatch.setattr(SessionStore, name, by_twin(f"a{name}"))
        filling = by_twin("_aget_session")
        monkeypatch.setattr(SessionStore, "_get_session", filling)
        monkeypatch.setattr(SessionStore, "_session", property(filling))
        monkeypatch.setattr(SessionStore, "__setitem__", by_twin("aset"))
    return driver
