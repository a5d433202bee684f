"""What attackers can decrypt with the table, KMS, old tokens, logs or error reports.

The table is read by a second program, which knows docs/format.md and not a line of ours.
"""

import json
import logging
import pprint
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from oauth.clients import grant_end, timed_deletions
from oauth.clients.sealed_grant import TokenResponse
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.tokens import Tokens
from tests.oauth.support.grants import CONSENT, TOKENS, VERIFIER, GrantWorld
from tests.sessions_kms.support import reference_format as ref
from tests.sessions_kms.support.fakes import KEY
from tests.sessions_kms.support.leaks import EveryRecord, error_chain
from tests.sessions_kms.support.memory_dynamodb import refuse_write

NAMESPACE = "django"
UPSTREAM = (TOKENS.access_token, TOKENS.refresh_token or "", TOKENS.grant_secret)


class Thief:
    """Has every item, every data key, and the secrets that are handed over."""

    def __init__(self, world: GrantWorld) -> None:
        self.world = world
        self.items = dict(world.items)

    def unwrap(self, encrypted_key: bytes, period: int) -> bytes:
        context = ref.encryption_context(NAMESPACE, period)
        return self.world.world.kms.decrypt(KEY, encrypted_key, context).plaintext

    def open_all(self, *secrets: str) -> str:
        """Return all that opens, with these secrets and those that they lead to."""
        found, known, tried = "", {*self.items, *secrets, *self.names()}, set[str]()
        while fresh := known - tried:
            tried |= fresh
            for text in (text for secret in sorted(fresh) for text in self.under(secret)):
                found += text
                known |= set(texts_in(json.loads(text)))
        return found

    def names(self) -> Iterator[str]:
        """Yield what the table says in the clear, whole and in parts."""
        for item_id, item in self.items.items():
            yield from item_id.split("#")
            yield from (value["S"] for value in item.values() if "S" in value)

    def under(self, secret: str) -> Iterator[str]:
        """Yield what items open under a secret, of whatever kind they are."""
        for item in self.items.values():
            if "encryptedData" in item:
                data_key = self.unwrap(item["encryptedKey"]["B"], int(item["keyPeriod"]["N"]))
                try:
                    yield ref.decrypt(item, NAMESPACE, secret, data_key).decode()
                except ref.Invalid:
                    continue


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)


def delete_what_is_due() -> None:
    timed_deletions._waiting.delete_due(also_later=True)
    assert grant_end.drain_deletions(10)


def opens_the_grant(found: str) -> bool:
    return any(secret in found for secret in UPSTREAM)


@pytest.fixture
def grown(one: GrantWorld) -> list[TokenResponse]:
    """A grant that was refreshed twice, and used after the grace."""
    issued = [one.begin()]
    for _ in range(2):
        one.clock.advance(3600)
        issued.append(one.refresh(issued[-1].refresh_token))
    one.clock.advance(200)
    assert one.lives(issued[-1])
    return issued


def test_table_and_kms_decrypt_labels_but_nothing_else_of_a_grant(
    one: GrantWorld, grown: list[TokenResponse]
) -> None:
    found = Thief(one).open_all()
    assert CONSENT.client_name in found, "what is about it: the thief can read"
    assert not opens_the_grant(found)
    for secret in ("key", "challenge", CONSENT.redirect_uri):
        assert f'"{secret}"' not in found


def test_any_valid_token_decrypts_the_grant(one: GrantWorld, grown: list[TokenResponse]) -> None:
    for token in (grown[-1].access_token, grown[-1].refresh_token):
        assert opens_the_grant(Thief(one).open_all(token))


def test_former_tokens_decrypt_nothing(one: GrantWorld, grown: list[TokenResponse]) -> None:
    thief = Thief(one)
    for former in grown[:-1]:
        assert not opens_the_grant(thief.open_all(former.refresh_token))
    spent = thief.open_all(grown[-2].refresh_token)
    assert CONSENT.client_id in spent, "its own item it does open"
    assert grown[-1].refresh_token not in spent


def test_unused_code_decrypts_the_grant_until_a_minute_has_passed(one: GrantWorld) -> None:
    code = one.allow()
    assert opens_the_grant(Thief(one).open_all(code)), "a stated limit"
    one.clock.advance(60)
    delete_what_is_due()
    assert Thief(one).open_all(code) == Thief(one).open_all()


def test_redeemed_code_decrypts_nothing(one: GrantWorld) -> None:
    code = one.allow()
    issued = one.redeem(code)
    found = Thief(one).open_all(code)
    assert CONSENT.client_id in found
    assert not opens_the_grant(found)
    one.clock.advance(3600)
    delete_what_is_due()
    assert Thief(one).open_all(code) == found, "its own item stays, to end the grant after reuse"
    assert one.lives(one.refresh(issued.refresh_token))


def test_redeemed_code_with_its_verifier_decrypts_the_grant_until_the_grace_is_over(
    one: GrantWorld,
) -> None:
    code = one.allow()
    issued = one.redeem(code)
    found = Thief(one).open_all(code + VERIFIER)
    assert opens_the_grant(found), "a stated limit: by the session's key"
    for token in (issued.access_token, issued.refresh_token):
        assert token not in found
    one.clock.advance(150)
    delete_what_is_due()
    assert Thief(one).open_all(code + VERIFIER) == Thief(one).open_all()


def test_used_refresh_token_of_an_idle_client_decrypts_nothing_after_the_grace(
    one: GrantWorld,
) -> None:
    issued = one.begin()
    one.refresh(issued.refresh_token)
    one.clock.advance(149)
    assert opens_the_grant(Thief(one).open_all(issued.refresh_token)), "a stated limit"
    one.clock.advance(1)
    delete_what_is_due()
    assert not opens_the_grant(Thief(one).open_all(issued.refresh_token))


def test_used_refresh_token_that_is_put_back_opens_its_grant_again(one: GrantWorld) -> None:
    """A stated limit: nothing outside of the table knows that the token was used."""
    issued = one.begin()
    item_id = Tokens(one.grants.services).id_of(issued.refresh_token)
    item = one.items[item_id]
    one.refresh(issued.refresh_token)
    one.items[item_id] = item
    assert one.lives(one.refresh(issued.refresh_token))


def test_expired_access_token_decrypts_the_grant_until_the_next_refresh(one: GrantWorld) -> None:
    """The first half is a stated limit, while DynamoDB has not deleted it: nobody knows its id."""
    issued = one.begin()
    one.clock.advance(3600)
    assert opens_the_grant(Thief(one).open_all(issued.access_token))
    one.refresh(issued.refresh_token)
    assert grant_end.drain_deletions(10)
    assert Thief(one).open_all(issued.access_token) == Thief(one).open_all()


@pytest.mark.parametrize("present", ["session", "revoke"])
def test_expired_access_token_decrypts_nothing_after_it_was_presented(
    one: GrantWorld, present: str
) -> None:
    issued = one.begin()
    one.clock.advance(3600)
    VERBS[present](one, "", issued)
    assert grant_end.drain_deletions(10)
    assert Thief(one).open_all(issued.access_token) == Thief(one).open_all()
    assert one.lives(one.refresh(issued.refresh_token))


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revoked_grant_leaves_no_item_with_its_key(
    one: GrantWorld, grown: list[TokenResponse], which: str
) -> None:
    """So that not even a session that is put back from a backup opens with them."""
    backup = dict(one.items)
    one.revoke(getattr(grown[-1], which))
    assert grant_end.drain_deletions(10)
    one.items.update((name, item) for name, item in backup.items() if "#" not in name)
    thief = Thief(one)
    for issued in grown:
        assert not opens_the_grant(thief.open_all(issued.access_token, issued.refresh_token))


def test_table_alone_opens_nothing_with_every_token(
    one: GrantWorld, grown: list[TokenResponse]
) -> None:
    thief = Thief(one)
    thief.unwrap = lambda *_: bytes(32)  # type: ignore[method-assign]
    secrets = [text for each in grown for text in (each.access_token, each.refresh_token)]
    assert thief.open_all(*secrets) == ""


def test_ended_grant_leaves_nothing_to_open(one: GrantWorld, grown: list[TokenResponse]) -> None:
    one.revoke(grown[-1].refresh_token)
    found = Thief(one).open_all(grown[-1].access_token, grown[-1].refresh_token)
    assert not opens_the_grant(found)


# Guesses


def near(token: str) -> str:
    """Return what is a token but for its last letter."""
    return token[:-1] + ("b" if token.endswith("a") else "a")


def test_wrong_guess_takes_the_same_path_however_close_it_is(
    one: GrantWorld, grown: list[TokenResponse]
) -> None:
    """The table is asked for the digest of the whole, so no time tells how much was right."""
    access, refresh = grown[-1].access_token, grown[-1].refresh_token
    one.grants = one.started(0)
    ways = set()
    for guess in (near(access), "gwa_" + "a" * 32):
        one.calls.clear()
        assert one.session(guess) is None
        one.revoke(guess)
        ways.add(tuple(one.calls))
    assert ways == {("GetItem token",) * 2}
    ways.clear()
    for guess in (near(refresh), "gwr_" + "a" * 32):
        one.calls.clear()
        one.assert_not_refreshed(guess)
        ways.add(tuple(one.calls))
    assert ways == {("GetItem token",)}
    assert one.lives(grown[-1])


# Logs, errors and their frames

VERBS: dict[str, Callable[[GrantWorld, str, TokenResponse], Any]] = {
    "allow": lambda one, _, __: one.allow(),
    "redeem": lambda one, code, _: one.redeem(code),
    "refresh": lambda one, _, issued: one.refresh(issued.refresh_token),
    "revoke": lambda one, _, issued: one.revoke(issued.access_token),
    "session": lambda one, _, issued: one.session(issued.access_token),
}
CALLS = [
    *("GetItem token", "PutItem token", "GetItem session", "PutItem session"),
    *("DeleteItem session", "TransactWriteItems token answer token token"),
    "TransactWriteItems token answer token token answer",
]


class Bug(Exception):
    """An error that nobody expects."""


def bug(_: Any) -> Any:
    raise Bug


def shown_texts(error: BaseException) -> Iterator[str]:
    """Yield what a report shows of an error: its text, and the variables of our frames."""
    for each in error_chain(error):
        yield f"{each!r} {each.args!r} {vars(each)!r}"
        tb = each.__traceback__
        while tb is not None:
            if is_shown(tb.tb_frame):
                yield pprint.pformat(tb.tb_frame.f_locals)
            tb = tb.tb_next


def is_shown(frame: FrameType) -> bool:
    ours = frame.f_globals.get("__name__", "").startswith(("oauth.", "sessions_kms."))
    return ours and not frame.f_locals.get("__traceback_hide__")


@pytest.mark.parametrize("fault", [bug, refuse_write])
@pytest.mark.parametrize("verb", VERBS)
def test_no_secret_is_in_logs_or_error_reports(one: GrantWorld, verb: str, fault: Any) -> None:
    key = one.key_of(issued := one.begin())
    code = one.allow()
    one.clock.advance(61)
    one.grants = one.started(0)
    kept, records = {code, key, *vars(issued).values()}, EveryRecord()
    secrets = {str(each) for each in kept if len(str(each)) > 20} | {VERIFIER, *UPSTREAM}
    met = 0
    logging.getLogger().addHandler(records)
    try:
        for call in CALLS:
            one.world.table.on(call, fault)
            try:
                VERBS[verb](one, code, issued)
            except (Bug, StoreUnavailable) as error:
                met += 1
                text = "\n".join([*shown_texts(error), *records.texts])
                assert [each for each in secrets if each in text] == [], call
            except Exception:  # noqa: BLE001, S110 - the code is over by now
                pass
            one.world.table.heal()
    finally:
        logging.getLogger().removeHandler(records)
    assert met, "no call of it failed"
