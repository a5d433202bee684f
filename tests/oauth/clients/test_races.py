"""Many at once, and both faces: threads and tasks of one process."""

import asyncio
from typing import Any

from oauth.clients.rules.errors import InvalidGrant
from oauth.clients.sealed_grant import TokenResponse
from tests.oauth.support.grants import (
    ASKED,
    BACKEND,
    CONSENT,
    TOKENS,
    VERIFIER,
    GrantWorld,
    PeopleInMemory,
)
from tests.sessions_kms.support.fakes import together

MANY = 64


def pairs(outcomes: list[Any]) -> set[tuple[Any, ...]]:
    return {tuple(vars(each).values()) for each in outcomes if isinstance(each, TokenResponse)}


def test_many_refreshes_of_one_token_at_once_get_one_pair(one: GrantWorld) -> None:
    first = one.begin()
    one.clock.advance(10)
    outcomes = together(MANY, lambda _: one.refresh(first.refresh_token))
    assert [each for each in outcomes if not isinstance(each, TokenResponse)] == []
    assert len(pairs(outcomes)) == 1
    second = outcomes[0]
    assert isinstance(second, TokenResponse)
    assert one.lives(second)
    assert one.lives(one.refresh(second.refresh_token))


def test_grant_that_ends_among_many_refreshes_stays_ended(one: GrantWorld) -> None:
    first = one.begin()
    one.clock.advance(10)

    def job(number: int) -> object:
        if number == MANY // 2:
            one.revoke(first.access_token)
            return None
        return one.refresh(first.refresh_token)

    outcomes = together(MANY, job)
    errors = {type(each) for each in outcomes if isinstance(each, Exception)}
    assert errors <= {InvalidGrant}
    assert "session" not in one.kinds()
    assert not any(one.lives(each) for each in outcomes if isinstance(each, TokenResponse))


def test_calls_go_on_while_it_is_refreshed(one: GrantWorld) -> None:
    first = one.begin()

    def job(number: int) -> object:
        return one.lives(first) if number % 2 else one.refresh(first.refresh_token)

    outcomes = together(16, job)
    assert outcomes[1::2] == [True] * 8
    assert len(pairs(outcomes)) == 1


async def test_all_verbs_do_their_work_in_an_event_loop(one: GrantWorld) -> None:
    steps = one.grants
    allow = steps.allow(PeopleInMemory.ada, CONSENT, "corp", TOKENS, backend=BACKEND)
    code = (await allow).code
    asked = ASKED | {"redirect_uri": None, "arrived_at": one.clock()}
    first = await steps.redeem(code, verifier=VERIFIER, **asked)

    async def refresh() -> TokenResponse:
        asked = ASKED | {"scope": None, "arrived_at": one.clock()}
        return await steps.refresh(first.refresh_token, **asked)

    one.clock.advance(10)
    outcomes = await asyncio.gather(*(refresh() for _ in range(16)))
    assert len(pairs(list(outcomes))) == 1
    second = outcomes[0]
    opened = await steps.open(second.access_token, upstream="mcp")
    assert opened is not None
    await steps.end(opened.session, access_token=second.access_token)
    assert await steps.open(first.access_token, upstream="mcp") is None
    await steps.revoke(second.refresh_token, client_id=CONSENT.client_id)
