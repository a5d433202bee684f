"""A response to another request, on a pooled connection: nobody is signed out, nothing is lost.

A program between sends one response too many, right after a request was written: whole, with the
right checksum. Rows: a response is for another request; the anonymous visitor makes up cookies.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.tokens import NewToken, SealedToken, Tokens
from sessions_kms.services import id_of
from sessions_kms.storage.suspect_responses import A_SECOND, KNOWN_FOR, ConfirmationLimit
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.exchange_proxy import ExchangeProxy, running_exchange_proxy
from tests.sessions_kms.support.sessions import save_changes, save_session, saved_key
from tests.sessions_kms.support.stacks import Stack, install
from tests.support.clock import FakeClock
from tests.support.waiting import until

Body = dict[str, Any]


def make_response(body: Body, status: int = 200) -> bytes:
    """Return a whole HTTP/1.1 response in DynamoDB's format."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(content)}\r\nx-amz-crc32: {zlib.crc32(content)}\r\n\r\n"
    )
    return head.encode() + content


pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

Load = Callable[[str], tuple[str | None, Any]]
LONG_KEY = "0123456789abcdefghijklmnopqrstu"


class Behind:
    """An engine that reaches its table through a proxy; the back door goes straight."""

    def __init__(self, stack: Stack, proxy: ExchangeProxy, steady: FakeClock) -> None:
        self.stack, self.proxy, self.steady = stack, proxy, steady
        table = stack.config.table_name
        self.capacity: dict[str, Any] = {
            "ConsumedCapacity": {"CapacityUnits": 1.0, "TableName": table}
        }

    def stands(self, key: str | None) -> bool:
        return id_of(key or "") in self.stack.sessions()


@pytest.fixture
def behind(
    make_stack: MakeStack, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Behind]:
    stack, steady = make_stack(), FakeClock(0)
    with running_exchange_proxy(roto_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.url)
        services.reset()
        stack.services = services.build(
            stack.config, clock=stack.clock, sleep=steady.advance, write_queues=WriteQueues(steady)
        )
        table = stack.services.table
        monkeypatch.setattr(table, "_limit", ConfirmationLimit(steady))
        install(stack.services)
        yield Behind(stack, proxy, steady)


def load_in_thread(key: str) -> tuple[str | None, Any]:
    session = SessionStore(key)
    user = session.get("_auth_user_id")
    return session.session_key, user


@pytest.fixture(params=["thread", "loop"])
def load(request: pytest.FixtureRequest) -> Iterator[Load]:
    if request.param == "thread":
        yield load_in_thread
        return
    with asyncio.Runner() as runner:

        async def load(key: str) -> tuple[str | None, Any]:
            session = SessionStore(key)
            user = await session.aget("_auth_user_id")
            return session.session_key, user

        yield lambda key: runner.run(load(key))


def others(behind: Behind) -> dict[str, bytes]:
    """Return responses to other requests, as DynamoDB gives them."""
    capacity, other = behind.capacity, {"id": {"S": "A" * 43}}
    detailed = capacity["ConsumedCapacity"] | {"Table": {"CapacityUnits": 1.0}}
    of_another = {"ConsumedCapacity": {"CapacityUnits": 1.0, "TableName": "another"}}
    refused = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
    canceled = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "CancellationReasons": [{"Code": "ConditionalCheckFailed"}],
    }
    return {
        "a miss": make_response(capacity),
        "a put or a delete": make_response({"ConsumedCapacity": detailed}),
        "a put that replaced": make_response({"Attributes": other, **capacity}),
        "another item": make_response({**capacity, "Item": other}),
        "a transaction": make_response({"ConsumedCapacity": [capacity["ConsumedCapacity"]]}),
        "an empty query": make_response({**capacity, "Count": 0, "Items": [], "ScannedCount": 0}),
        "a batch": make_response({"Responses": {}, "UnprocessedKeys": {}, **capacity}),
        "a miss of another table": make_response(of_another),
        "nothing": make_response({}),
        "a failed condition": make_response(refused, 400),
        "a canceled transaction": make_response(canceled, 400),
    }


@pytest.mark.parametrize("shifts", [False, True], ids=["once", "shifted"])
def test_response_to_another_request_keeps_everyone_signed_in(
    behind: Behind, load: Load, shifts: bool
) -> None:
    key = saved_key("7")
    for what, surplus in others(behind).items():
        for _ in range(3):
            behind.proxy.heal()
            behind.proxy.shifts = shifts
            behind.steady.advance(KNOWN_FOR)
            assert load(key) == (key, "7")
            behind.proxy.strike("GetItem", surplus)
            assert load(key) == (key, "7"), what
            assert load(key) == (key, "7"), what


def test_differing_responses_close_both_connections_and_are_logged(
    behind: Behind, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    key = saved_key("7")
    load(key)
    behind.proxy.heal()
    behind.proxy.strike("GetItem", others(behind)["a miss"])
    assert load(key) == (key, "7")
    asked = {each.connection for each in behind.proxy.asked("GetItem")}
    assert len(asked) == 2
    assert until(lambda: asked <= behind.proxy.closed)
    told = [
        each for each in caplog.records if each.name == "sessions_kms.storage.suspect_responses"
    ]
    assert len(told) == 1
    assert key not in caplog.text


@pytest.mark.parametrize("surplus", ["a miss", "a put or a delete"])
def test_sign_out_is_acknowledged_only_once_the_session_is_gone(
    behind: Behind, surplus: str
) -> None:
    for knows in (True, False):
        for times in (1, 2):
            key = saved_key("7")
            session = SessionStore(key)
            if knows:
                session.get("x")
            behind.proxy.heal()
            behind.proxy.swallows = True
            behind.proxy.strike("DeleteItem", *[others(behind)[surplus]] * times)
            with suppress(StoreUnavailable):
                session.delete()
                assert not behind.stands(key)
    behind.proxy.heal()


def test_sign_out_is_no_success_by_the_response_to_an_earlier_save(behind: Behind) -> None:
    key = saved_key("7")
    before = behind.stack.sessions()[id_of(key)]
    session = save_changes(key, a=1)
    old = {name: before[name] for name in ("id", "ttl")} | {"salt": {"B": "A" * 22 + "=="}}
    behind.proxy.swallows = True
    behind.proxy.strike("DeleteItem", make_response({"Attributes": old, **behind.capacity}))
    session.delete()
    assert not behind.stands(key)


@pytest.mark.parametrize("surplus", ["a miss", "a put or a delete", "a put that replaced"])
def test_save_that_did_not_happen_is_no_success(behind: Behind, surplus: str) -> None:
    key = saved_key("7")
    session = SessionStore(key)
    session["a"] = 1
    behind.proxy.swallows = True
    behind.proxy.strike("PutItem", others(behind)[surplus])
    session.save()
    behind.proxy.heal()
    assert SessionStore(key).get("a") == 1


def test_session_of_a_user_that_was_not_created_is_no_success(behind: Behind) -> None:
    saved_key("7")
    behind.proxy.swallows = True
    behind.proxy.strike("PutItem", others(behind)["a put or a delete"])
    session = save_session("7")
    assert behind.stands(session.session_key)


def test_key_change_that_did_not_happen_is_no_success(behind: Behind) -> None:
    key = saved_key("7")
    session = SessionStore(key)
    session.get("x")
    behind.proxy.swallows = True
    behind.proxy.strike("TransactWriteItems", others(behind)["a transaction"])
    session.cycle_key()
    assert session.session_key != key
    assert behind.stands(session.session_key)
    assert not behind.stands(key)


def test_token_is_found_despite_a_wrong_first_response(behind: Behind) -> None:
    tokens, token = Tokens(services.services()), "gwr_" + LONG_KEY + "0"
    ends = int(behind.stack.clock()) + 1000
    run_sync(tokens.begin(NewToken(token, b"content", ends)))
    behind.proxy.strike("GetItem", others(behind)["a miss"])
    found = run_sync(tokens.find(token))
    assert isinstance(found, SealedToken)
    assert found.content == b"content"


# What anybody can have read


def make_up_id(number: int) -> str:
    return f"{number:032d}"


def test_invalid_cookie_costs_two_reads_on_two_connections_and_one_soon_afterwards(
    behind: Behind, load: Load
) -> None:
    load(saved_key("7"))
    for expected, seconds in ((2, 0.0), (1, KNOWN_FOR / 2), (1, 0.0), (2, KNOWN_FOR)):
        behind.proxy.heal()
        behind.steady.advance(seconds)
        assert load(make_up_id(1)) == (None, None)
        asked = [each.connection for each in behind.proxy.asked("GetItem")]
        assert (len(asked), len(set(asked))) == (expected, expected)


def test_flood_of_made_up_cookies_is_read_twice_fifty_times_a_second(
    behind: Behind, load: Load
) -> None:
    load(saved_key("7"))
    behind.proxy.heal()
    opened, flood = behind.proxy.opened, 2 * A_SECOND
    for number in range(flood):
        load(make_up_id(number))
    assert len(behind.proxy.asked("GetItem")) == flood + A_SECOND
    assert behind.proxy.opened <= opened + 1
    behind.steady.advance(1)
    load(make_up_id(flood))
    assert len(behind.proxy.asked("GetItem")) == flood + A_SECOND + 2
