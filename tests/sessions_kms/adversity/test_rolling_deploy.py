"""Processes of two releases with one table while a fleet is updated, or taken back.

Three releases: one that knows version 1, one that reads 2 ahead, one that writes it. Every kind
of item changes at once.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sessions_kms.format import item_types
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.every_kind import AFTER, AHEAD, BEFORE, KNOWN, unknown, versions_in
from tests.sessions_kms.support.real_workers import make_real_time_stack
from tests.sessions_kms.support.released import Release
from tests.sessions_kms.support.stacks import Stack, settings_of
from tests.sessions_kms.support.worker import at_once
from tests.support.clock import FakeClock

pytestmark = [
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.timeout(120),
    pytest.mark.long,
]
Fleet = tuple[Release, Release]
BOTH_WAYS = ((0, 1), (1, 0))


@pytest.fixture
def stack(make_stack: MakeStack, clock: FakeClock) -> Stack:
    return make_real_time_stack(make_stack, clock)


@contextmanager
def fleet(stack: Stack, *versions: tuple[list[int], int]) -> Iterator[list[Release]]:
    settings = settings_of(stack.config) | {
        "REGION_NAME": stack.config.region_name,
        "DATA_KEY_PERIOD": stack.config.data_key_period,
    }
    with ExitStack() as made:
        yield [made.enter_context(Release(settings, each)) for each in versions]


def content(process: Release, key: str) -> Any:
    """Return what a process loads under a key, or its error."""
    return process.ask("open", key=key) or process.ask("look")["content"]


def sign_in(process: Release) -> str:
    process.ask("open", _auth_user_id="7")
    process.ask("save")
    return str(process.ask("look")["key"])


@pytest.fixture(params=[(BEFORE, AHEAD), (AHEAD, AFTER)], ids=["reading ahead", "writing"])
def pair(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(stack, *request.param) as (old, new):
        yield old, new


def test_releases_one_apart_share_sessions_leases_moments_and_data_keys(
    stack: Stack, pair: Fleet
) -> None:
    for first, second in BOTH_WAYS:
        one, other = pair[first], pair[second]
        key = sign_in(one)
        at_once((one, "open", {"key": key, "mine": 1}), (other, "open", {"key": key, "theirs": 2}))
        assert at_once((one, "save", {}), (other, "save", {})) == [None, None]
        saved = {"_auth_user_id": "7", "mine": 1, "theirs": 2}
        assert content(one, key) == content(other, key) == saved

        content(one, key)
        assert one.ask("cycle") is None
        moved = one.ask("look")["key"]
        assert content(other, key) == "SessionMoved"
        assert content(other, moved) == saved
        assert other.ask("flush") is None
        assert content(one, moved) == {}

        secret = f"{first}" * 32
        assert one.ask("claim", secret=secret, holder="one") == [True, None]
        assert other.ask("claim", secret=secret, holder="other") == [False, None]
        assert one.ask("complete", secret=secret, holder="one", result="token")
        assert other.ask("claim", secret=secret, holder="other") == [False, "token"]

        moment = int(time.time()) - 1000 + first
        assert one.ask("end_before_of", name="corp", moment=moment)
        assert other.ask("moment_of", name="corp") == moment
    (data_key,) = [item for name, item in stack.items().items() if name.startswith("data-key#")]
    assert {item["encryptedKey"]["B"] for item in stack.items().values() if "iv" in item} == {
        data_key["encryptedKey"]["B"]
    }


def test_releases_one_apart_read_every_kind_of_each_other(stack: Stack, pair: Fleet) -> None:
    for first, second in BOTH_WAYS:
        names = pair[first].ask("write_all")
        assert pair[second].ask("read_all", names=names) == KNOWN
        for item_id in stack.items():
            stack.delete_item(item_id)


def test_release_without_version_2_handles_it_as_documented(stack: Stack) -> None:
    with fleet(stack, BEFORE, AFTER) as (old, new):
        theirs, mine = sign_in(new), sign_in(old)
        # The published data key is of version 2: the old release seals with its own.
        item = stack.items()[item_types.session_id(stack.config.namespace, mine)]
        published = stack.items()[f"data-key#django#{item['keyPeriod']['N']}"]
        assert (item["version"], published["version"]) == ({"N": "1"}, {"N": "2"})
        assert item["encryptedKey"] != published["encryptedKey"]
        assert content(new, mine) == {"_auth_user_id": "7"}
        # A record that it cannot read is no session to it, and is not written over.
        assert content(old, theirs) == {}
        at_once((old, "open", {"key": mine, "old": 1}), (new, "open", {"key": mine, "new": 1}))
        assert new.ask("save") is None
        assert old.ask("save") == "UpdateError"
        assert content(new, mine) == {"_auth_user_id": "7", "new": 1}

        kept, names = sign_in(old), new.ask("write_all")
        assert versions_in(stack.items()) == {
            kind.name: {"2"} for kind in item_types.ITEM_TYPES
        } | {"session": {"1", "2"}}
        # It does not seal with an unconfirmed clock either, while not-before is unavailable.
        seen = {kind.name: unknown(kind)[kind.name] for kind in item_types.ITEM_TYPES}
        expected = seen | {"data key": "TableUnavailable"}
        assert old.ask("read_all", names=names) == expected
        # Whether a session that it can read counts, nobody can tell: nobody is signed out.
        told = old.ask("read_all", names=names | {"session": kept})
        assert told["session"] == "TableUnavailable"
