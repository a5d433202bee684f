"""An attempt by the wire, in a thread and in an event loop, which it never holds up."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, NoCredentialsError

from sessions_kms.aws import client_choice, clients
from sessions_kms.aws.client_choice import ClientSetting
from sessions_kms.aws.clock import ServerClock, current_clock, set_clock
from sessions_kms.aws.table_client import BuiltinClient, create_table_client
from sessions_kms.concurrency.waits import BlockingCall, run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.storage.table import Table
from sessions_kms.storage.writes import Delete
from tests.sessions_kms.aws.http_client import scripted
from tests.sessions_kms.support.scripted_server import Said, Server, running_by_script
from tests.support import certificates

WHOLE = (("ConsumedCapacity", {"TableName": "sessions", "CapacityUnits": 1.0}),)
ITEM = {"id": {"S": "x"}}
FOUND = Said(200, fields=(("Item", ITEM), *WHOLE))
OF_ANOTHER = Said(200, fields=(("ConsumedCapacity", {"TableName": "another"}), ("Item", ITEM)))
DONE = Said(200, fields=WHOLE)
TRANSACTED = Said(200, fields=(("ConsumedCapacity", [dict(WHOLE)["ConsumedCapacity"]]),))
Drive = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with running_by_script() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture(params=["thread", "loop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return run_sync if request.param == "thread" else asyncio.run


def table_of(client: Any) -> Table:
    return Table(client, name="sessions")


def builtin_client() -> BuiltinClient:
    client = create_table_client("eu-west-1", "builtin")
    assert isinstance(client, BuiltinClient)
    return client


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., Any]]:
    """Note what an event loop has done in threads."""
    done: list[Callable[..., Any]] = []
    suspend = BlockingCall.suspend

    async def note(self: BlockingCall) -> Any:
        done.append(self.function)
        return await suspend(self)

    monkeypatch.setattr(BlockingCall, "suspend", note)
    return done


async def test_event_loop_uses_a_thread_for_botos_lookups_and_none_afterwards(
    server: Server, no_thread: list[Callable[..., Any]]
) -> None:
    client = builtin_client()
    table = table_of(client)
    # What is put and what is deleted is looked at, since no response has the item of before.
    server.script = [FOUND, FOUND, DONE, FOUND, DONE, DONE, DONE, TRANSACTED, OF_ANOTHER]
    assert await table.get("x") == ITEM
    assert no_thread == [client.wait_for_state]
    assert await table.get("x") == ITEM
    await table.put(ITEM)
    await table.delete("x")
    await table.put_once(ITEM)
    await table.transact(Delete("x"))
    assert no_thread == [client.wait_for_state]
    await Table(client, name="another").get("x")  # whose endpoint may be another
    assert no_thread == [client.wait_for_state] * 2
    operations = [asked.headers["X-Amz-Target"].partition(".")[2] for asked in server.asked]
    assert operations == [
        *("GetItem", "GetItem", "PutItem", "GetItem", "DeleteItem", "GetItem", "PutItem"),
        *("TransactWriteItems", "GetItem"),
    ]


async def test_event_loop_continues_while_credentials_are_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, client = threading.Event(), threading.Event(), builtin_client()
    fetch: Any = client.credentials._fetch
    fetchers: list[threading.Thread] = []

    def slow() -> Any:
        fetchers.append(threading.current_thread())
        began.set()
        go_on.wait(5)
        return fetch()

    monkeypatch.setattr(client.credentials, "_fetch", slow)
    server.script = [FOUND]
    reading = asyncio.create_task(table_of(client).get("x"))
    assert await asyncio.to_thread(began.wait, 5)
    assert not reading.done()
    go_on.set()
    assert await reading == ITEM
    assert threading.main_thread() not in fetchers


async def test_credentials_that_are_soon_due_are_fetched_ahead(
    server: Server, monkeypatch: pytest.MonkeyPatch, no_thread: list[Callable[..., Any]]
) -> None:
    client = builtin_client()
    credentials: Any = client.credentials
    server.script = [FOUND, FOUND]
    await table_of(client).get("x")
    no_thread.clear()
    fetched = threading.Event()
    monkeypatch.setattr(credentials, "_expires_within", lambda seconds: seconds is None)
    credentials._valid_in = 0  # A second has passed.
    monkeypatch.setattr(credentials, "_fetch", fetched.set)
    assert await table_of(client).get("x") == ITEM
    assert no_thread == []
    assert fetched.wait(5)


def test_new_credentials_sign_the_next_request(server: Server, drive: Drive) -> None:
    client = builtin_client()
    credentials: Any = client.credentials
    server.script = [FOUND] * 3
    drive(table_of(client).get("x"))
    for key_id in ("ONE", "OTHER"):
        credentials._frozen = ReadOnlyCredentials(key_id, "secret", None)
        drive(table_of(client).get("x"))
        assert f" Credential={key_id}/" in server.asked[-1].headers["Authorization"]


def test_nothing_is_sent_without_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch, drive: Drive
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    clients.reset()
    with pytest.raises(TableUnavailable) as caught:
        drive(table_of(builtin_client()).get("x"))
    assert isinstance(caught.value.__cause__, NoCredentialsError)
    assert server.asked == []


def test_endpoint_with_a_path_is_called_by_boto(
    server: Server, monkeypatch: pytest.MonkeyPatch, drive: Drive
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{server.url}/path")
    server.script = [FOUND]
    assert drive(table_of(builtin_client()).get("x")) == ITEM
    assert "amz-sdk-invocation-id" in server.asked[0].headers  # boto's alone


@pytest.mark.parametrize("setting", ["builtin", "boto"])
@pytest.mark.parametrize("believed", [True, False])
def test_tls_trusts_the_authorities_of_aws_ca_bundle(
    setting: ClientSetting,
    believed: bool,
    drive: Drive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem = tmp_path / "certificate.pem"
    with running_by_script(certificates.server_context(pem)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        if believed:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(pem))
        clients.reset()
        server.script = [FOUND]
        table = table_of(create_table_client("eu-west-1", setting))
        if believed:
            assert drive(table.get("x")) == ITEM
        else:
            with pytest.raises(TableUnavailable):
                drive(table.get("x"))
        assert len(server.asked) == believed


def rejection_at(moment: float) -> Said:
    date = (("Date", formatdate(moment, usegmt=True)),)
    return Said(403, "InvalidSignatureException", date)


def signing_time(headers: dict[str, str]) -> float:
    told = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return told.timestamp()


def test_signature_refused_for_its_time_is_made_once_more_by_the_time_of_the_refusal(
    server: Server, drive: Drive
) -> None:
    for _ in range(3):  # A single response that says otherwise is not believed.
        current_clock().observe(formatdate(usegmt=True))
    there = time.time() + 3600
    server.script = [rejection_at(there), TRANSACTED]
    drive(table_of(builtin_client()).transact(Delete("x")))
    first, second = server.asked
    assert first.body == second.body  # with the token by which it is applied once
    assert "ClientRequestToken" in json.loads(first.body)
    assert signing_time(first.headers) == pytest.approx(time.time(), abs=60)
    assert signing_time(second.headers) == pytest.approx(there, abs=60)


def test_signature_refused_for_another_reason_is_not_made_again(
    server: Server, drive: Drive
) -> None:
    server.script = [rejection_at(time.time())]
    with pytest.raises(TableUnavailable) as caught:
        drive(table_of(builtin_client()).get("x"))
    assert isinstance(caught.value.__cause__, ClientError)
    assert len(server.asked) == 1


async def test_witness_of_the_time_is_the_response_of_this_task(server: Server) -> None:
    clock, there = ServerClock(), time.time() + 3600
    set_clock(clock)
    dates = [(("Date", formatdate(moment, usegmt=True)),) for moment in (there,) * 4]
    here = (("Date", formatdate(usegmt=True)),)
    server.script = [FOUND._replace(headers=date) for date in (*dates, here)]
    table = table_of(builtin_client())
    for _ in range(4):
        await table.get("x")
    assert clock.has_passed(there - 600)

    async def another() -> bool:
        await table.get("x")
        return clock.has_passed(there - 600)

    assert not await asyncio.create_task(another())
    assert clock.has_passed(there - 600)


def test_read_is_repeated_and_a_write_is_not(server: Server, drive: Drive) -> None:
    server.script = [Said(0), Said(500, "InternalServerError"), FOUND]
    table = table_of(builtin_client())
    assert drive(table.get("x")) == ITEM
    assert len(server.asked) == 3
    server.script = [Said(0)]
    with pytest.raises(TableUnavailable):
        drive(table.put_once(ITEM))
    assert len(server.asked) == 4


def test_desynchronized_connection_is_closed(monkeypatch: pytest.MonkeyPatch, drive: Drive) -> None:
    """One response too many came on it: the miss of one person's session is not another's."""

    def one_behind(peer: scripted.Peer) -> None:
        last: dict[str, Any] = {}
        while True:
            key = json.loads(peer.request())["Key"]
            found = {} if key["id"]["S"] == "missing" else {"Item": key}
            right = found | dict(WHOLE)
            said = last if peer.number == 0 else right
            peer.send(scripted.make_response(json.dumps(said).encode()))
            last = right

    with scripted.Server(one_behind) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.port}")
        table = table_of(builtin_client())

        async def read() -> list[Any]:
            return [await table.get("missing"), await table.get("x")]

        assert drive(read()) == [None, ITEM]


def test_endpoint_is_requested_once_per_account_and_table(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    target_of = client_choice.target_of

    def note(client: Any, table: str) -> Any:
        found.append(table)
        return target_of(client, table)

    monkeypatch.setattr(client_choice, "target_of", note)
    client: Any = builtin_client()
    for account in ("1", "1", "2"):
        frozen = client.credentials.get_frozen_credentials()._replace(account_id=account)
        monkeypatch.setattr(client.credentials, "current", lambda frozen=frozen: frozen)
        for table in ("a", "a", "b"):
            client.wait_for_state(table)
    assert found == ["a", "b", "a", "b"]


def test_connection_ends_with_its_client(server: Server) -> None:
    server.script = [FOUND, FOUND]
    client = builtin_client()
    run_sync(table_of(client).get("x"))
    kept: Any = client.wait_for_state("sessions").endpoint.blocking._idle  # type: ignore[union-attr]
    assert len(kept.all()) == 1
    del client
    assert kept.all() == []
