"""What hangs at one provider holds up nobody of another one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from oauth.tokens import refresh_coordinator
from oauth.tokens.refresh_request import refresh
from oauth.tokens.turns import InTurn
from sessions_kms.concurrency.steps import Steps
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import stored, successor_of
from tests.sessions_kms.support.stacks import Stack


def pool_here() -> str:
    """The pool whose thread this is."""
    return threading.current_thread().name.rpartition("_")[0]


def test_provider_whose_name_is_anothers_and_a_purpose_has_threads_of_its_own(
    corp: FakeProvider, visitor: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[str] = []

    def noted(*args: Any) -> Any:
        pools.append(pool_here())
        return refresh(*args)

    def noting() -> Steps[None]:
        pools.append(pool_here())
        yield from ()

    monkeypatch.setattr(refresh_coordinator, "refresh", noted)
    visitor.sign_in(corp)
    store.clock.advance(4000)
    assert successor_of(stored(visitor)).made  # asked of `corp`
    for name in ("corp", "corp-refresh", "refresh-corp"):
        asyncio.run(InTurn("a secret", name, patience=1.0, steps=noting).looping())
    assert len(set(pools)) == len(pools) == 4
