"""Refreshes, redemptions and ends of one grant in every order, with a fault at any call.

What was shown of the protocol's model is shown of the steps themselves. The second half takes a
part of the protocol away, to see that what must hold would not.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from oauth.clients import grant_end, token_pair, token_redemption
from oauth.clients.grant_end import GrantRevoker
from oauth.clients.rules.errors import InvalidGrant
from oauth.clients.sealed_grant import AccessTokenItem, SealedGrant, SealedResponse
from oauth.clients.token_pair import Lifetimes, NamedItems
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.grant_store import end_grant_by_id
from sessions_kms.sealed_items import tokens
from sessions_kms.sealed_items.tokens import TokenTombstone
from tests.oauth.support.interleaved import Explored
from tests.oauth.support.interleaving import Interleaving

AT_LENGTH = "FUZZ_EXAMPLES" in os.environ  # `make fuzz`

# H: an honest client's requests, one after the other or given up; H2: those of a second process of
# it, which keeps the same token and hears of none of the first one's answers; E: an end by its
# person; X: by the client; T: a thief with an old token; L: somebody with the code, without its
# verifier; V: with both, later than an honest client would come.
# Who, what they begin with, faults, graces that pass; and how many an access token lives.
Scene = tuple[str, str, int, int] | tuple[str, str, int, int, int]
SHORT: list[Scene] = [
    ("H H", "refresh", 0, 1),
    ("H H", "refresh", 1, 0),
    ("H H2", "refresh", 1, 0),
    ("H H H2", "refresh", 0, 0),
    ("H E", "refresh", 1, 1),
    ("H X", "refresh", 1, 0),
    ("H H E", "refresh", 0, 0),
    ("H E L", "code", 1, 0),
    ("H H L", "code", 0, 0),
    ("H V", "code", 1, 1),
    ("T H", "old", 0, 2),
    ("T E", "old", 2, 2),
    ("H X", "refresh", 0, 1, 1),
]
LONG: list[Scene] = [
    ("H E", "refresh", 2, 1),
    ("H H", "refresh", 1, 1),
    ("H H2", "refresh", 0, 2),
    ("H H2", "refresh", 1, 1),
    ("H H H", "refresh", 0, 0),
    ("H H E", "refresh", 0, 1),
    ("H H E", "refresh", 1, 0),
    ("H H X", "refresh", 1, 0),
    ("H H T", "refresh", 0, 2),
    ("H T", "refresh", 1, 3),
    ("T H", "old", 1, 3),
    ("T H E", "old", 1, 2),
    ("H E L", "code", 2, 1),
    ("H H L", "code", 1, 0),
    ("H H", "code", 1, 0),
    ("H H2 V", "code", 0, 1),
    ("H V L", "code", 1, 1),
    ("H H", "refresh", 0, 1, 1),
    ("H H", "refresh", 0, 2, 1),
    ("H H", "refresh", 0, 2, 2),
    ("H H", "refresh", 1, 1, 1),
    ("H X", "refresh", 1, 1, 1),
]
FUZZ: list[Scene] = [
    ("H H", "refresh", 2, 1),  # not 2 graces: millions of states, more than fit into memory
    ("H H H", "refresh", 0, 1),
    ("H H H2", "refresh", 0, 1),
    ("H H H2", "refresh", 1, 0),
    ("H H H", "refresh", 1, 0),
    ("H H E", "refresh", 1, 1),
    ("H H T", "refresh", 0, 3),
    ("H H L", "code", 1, 1),
    ("H H H E", "refresh", 0, 0),
    ("H H H", "refresh", 0, 1, 1),
    ("H H H2", "refresh", 0, 1, 1),
    ("H H X", "refresh", 0, 1, 1),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable the log of some ten thousand rejected tokens."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def make_interleaving(patch: pytest.MonkeyPatch, scene: Scene) -> Interleaving:
    who, _, faults, ticks, *access = scene
    age = access[0] if access else 30
    return Interleaving(patch, who, faults=faults, ticks=ticks, access_age=age)


def explore(patch: pytest.MonkeyPatch, scene: Scene) -> Explored:
    found = make_interleaving(patch, scene).explore(scene[1])
    assert found.states > 100
    return found


@pytest.mark.slow
@pytest.mark.parametrize("scene", SHORT, ids=str)
def test_nothing_is_lost_revived_or_doubled_in_any_order(
    monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    assert explore(monkeypatch, scene).violations == {}


@pytest.mark.long
@pytest.mark.timeout(0 if AT_LENGTH else 600)
@pytest.mark.parametrize("scene", LONG + (FUZZ if AT_LENGTH else []), ids=str)
def test_nothing_is_in_longer_scenes(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    assert explore(monkeypatch, scene).violations == {}


@pytest.mark.slow
def test_every_outcome_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explore(monkeypatch, ("H H E", "refresh", 0, 0))
    assert found.results == {("H", "ok"), ("H", "invalid"), ("E", "done")}
    found = explore(monkeypatch, ("H H X", "refresh", 0, 0))  # whose items are deleted, one by one
    assert found.results == {("H", "ok"), ("H", "invalid"), ("X", "done")}
    found = explore(monkeypatch, ("T E", "old", 1, 2))
    assert found.results >= {("T", "invalid"), ("T", "503"), ("E", "done")}


# A part of the protocol is taken away


@dataclass
class Now:
    """The current time of the caller instead of the arrival time."""

    clock: Callable[[], float]

    def __sub__(self, other: float) -> float:
        return self.clock() - other


def count_to_the_reading(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    scene.arrival = lambda _: Now(scene.clock)


def forget_when_tombstones_were_spent(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    buried = token_pair._tombstone_of_previous

    def at_once(*args: Any) -> TokenTombstone | None:
        found = buried(*args)
        return found and replace(found, spent_at=0)

    patch.setattr(token_pair, "_tombstone_of_previous", at_once)


def bury_codes(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    buried = token_pair._tombstone_of_previous

    def all_alike(grant: Any, ends: int) -> TokenTombstone | None:
        previous = grant.previous and replace(grant.previous, is_code=False)
        return buried(replace(grant, previous=previous), ends)

    patch.setattr(token_pair, "_tombstone_of_previous", all_alike)


def end_by_any_second_use_of_a_code(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    patch.setattr(token_redemption, "CODE_GRACE", -1)


def end_by_no_second_use_of_a_code(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    patch.setattr(token_redemption, "CODE_GRACE", 1_000_000)


def respond_to_a_code_as_before(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    again = token_redemption.TokenRedemption._handle_spent

    async def respond_again(self: token_redemption.TokenRedemption, found: Any, spent: Any) -> Any:
        if token_pair.is_token(self._presented.token, token_pair.CODE):
            return await self._repeat_response()
        return await again(self, found, spent)

    patch.setattr(token_redemption.TokenRedemption, "_handle_spent", respond_again)


def judge_a_code_before_its_verifier(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    looked_up = token_redemption.TokenRedemption._look_up

    async def skip_check(self: token_redemption.TokenRedemption) -> Any:
        try:
            return await looked_up(self)
        except InvalidGrant:
            found = await self._tokens.find(self._presented.token)
            if not isinstance(found, tokens.SealedToken):
                raise
            grant = SealedGrant.from_bytes(found.content)
            if grant.key is not None:
                raise
            return found, grant

    patch.setattr(token_redemption.TokenRedemption, "_look_up", skip_check)


def spend_unconditionally(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    patch.setattr(tokens, "equal", lambda *_: None)


def respond_before_the_end_is_sure(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    async def unsure(*args: Any) -> None:
        with suppress(StoreUnavailable):
            await end_grant_by_id(*args)

    patch.setattr("oauth.clients.grant_end.end_grant_by_id", unsure)


def stamp_all_exchanges_alike(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    patch.setattr(token_pair, "new_stamp", lambda: bytes(16))


def cut_access_tokens_short(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    changed_succession(patch, lambda _, made: made._replace(surplus=ids(made.named[:-1])))


def forget_access_tokens(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    changed_succession(patch, lambda _, made: made._replace(named=made.named[-1:]))


def name_no_access_tokens(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    changed_succession(patch, lambda _, made: made._replace(named=()))


def leave_expired_access_tokens(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    changed_succession(patch, lambda _, made: made._replace(expired=()))


def delete_the_oldest_before_it_is_known_to_be_one(
    patch: pytest.MonkeyPatch, scene: Interleaving
) -> None:
    patch.setattr(token_pair, "NAMED_MAX", 1)
    changed_succession(patch, lambda _, made: made._replace(expired=made.surplus))


def repeat_how_long_an_access_token_lives(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    issued = SealedResponse.to_response
    patch.setattr(
        SealedResponse,
        "to_response",
        lambda self, now: replace(issued(self, now), expires_in=Lifetimes().access_token_age),
    )


def delete_what_a_grant_names_before_its_end(
    patch: pytest.MonkeyPatch, scene: Interleaving
) -> None:
    of_key = GrantRevoker.end_by_key

    async def early(self: GrantRevoker, key: str, reason: str, items: Iterable[str]) -> None:
        grant_end.delete_items_soon(self._services, items)
        return await of_key(self, key, reason, items)

    patch.setattr(GrantRevoker, "end_by_key", early)


def delete_nothing_at_the_end(patch: pytest.MonkeyPatch, scene: Interleaving) -> None:
    patch.setattr(grant_end, "delete_items_soon", lambda *_, **__: None)


def changed_succession(
    patch: pytest.MonkeyPatch, change: Callable[[Any, NamedItems], NamedItems]
) -> None:
    succeed = token_pair.replace_access_tokens
    patch.setattr(token_pair, "replace_access_tokens", lambda *args: change(args, succeed(*args)))


def ids(tokens: Iterable[AccessTokenItem]) -> tuple[str, ...]:
    return tuple(each.id for each in tokens)


PARTS = [
    (cut_access_tokens_short, ("H H", "refresh", 0, 0)),
    (forget_access_tokens, ("H", "refresh", 0, 1, 1)),
    (name_no_access_tokens, ("H H", "refresh", 0, 1, 1)),
    (leave_expired_access_tokens, ("H H", "refresh", 0, 1, 1)),
    (delete_the_oldest_before_it_is_known_to_be_one, ("H", "refresh", 1, 1)),
    (repeat_how_long_an_access_token_lives, ("H H", "refresh", 0, 2, 2)),
    (delete_what_a_grant_names_before_its_end, ("H X", "refresh", 1, 0)),
    (delete_nothing_at_the_end, ("H X", "refresh", 0, 0)),
    (count_to_the_reading, ("H H", "refresh", 0, 2)),
    (count_to_the_reading, ("H H2", "refresh", 0, 2)),
    (forget_when_tombstones_were_spent, ("H H H", "refresh", 0, 0)),
    (bury_codes, ("H L", "refresh", 0, 1)),
    (end_by_any_second_use_of_a_code, ("H H", "code", 0, 0)),
    (end_by_no_second_use_of_a_code, ("H V", "code", 0, 1)),
    (respond_to_a_code_as_before, ("H H", "code", 0, 0)),
    (judge_a_code_before_its_verifier, ("H L", "code", 0, 1)),
    (count_to_the_reading, ("H H", "code", 0, 1)),
    (spend_unconditionally, ("H H", "refresh", 0, 0)),
    (respond_before_the_end_is_sure, ("T", "old", 3, 2)),
    (stamp_all_exchanges_alike, ("H H", "refresh", 0, 0)),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("take_away", "scene"), PARTS, ids=lambda each: getattr(each, "__name__", "")
)
def test_removing_any_safeguard_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    take_away: Callable[[pytest.MonkeyPatch, Interleaving], None],
    scene: Scene,
) -> None:
    at_work = make_interleaving(monkeypatch, scene)
    take_away(monkeypatch, at_work)
    assert at_work.explore(scene[1], until_found=True).violations
