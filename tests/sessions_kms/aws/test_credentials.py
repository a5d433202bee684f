"""Credentials that boto has to ask for: as hasty as every other call, and fetched once for all."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError
from botocore.utils import ContainerMetadataFetcher

from sessions_kms.aws import clients
from sessions_kms.aws import kms as aws
from sessions_kms.aws.credentials import RETRY_AFTER, SharedCredentials
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.storage.table import Table
from tests.sessions_kms.support.slow_server import Manner, running_slowly
from tests.support.clock import FakeClock
from tests.support.waiting import until

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-1111-4111-8111-111111111111"
HINDERED = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture
def silent_sts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have boto assume a role, as in Kubernetes, by an STS that takes calls and never answers."""
    token = tmp_path / "token"
    token.write_text("a token of the cluster")
    for name in HINDERED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/gateway")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setattr(deadline, "HASTY", Limits(0.2, 0.2, 0.2, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.getsockname()[1]}")
        clients.reset()
        yield
    clients.reset()


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("silent_sts")
def test_hanging_credentials_make_the_table_unavailable_without_hanging() -> None:
    table = Table(clients.dynamodb_client("eu-west-1"), name="sessions")
    with pytest.raises(TableUnavailable):
        run_sync(table.get("any"))


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("silent_sts")
def test_hanging_credentials_make_kms_unavailable_without_hanging() -> None:
    with pytest.raises(KMSUnavailable) as caught:
        aws.KMS().generate_data_key(KEY, {})
    assert caught.value.refused_key is None


@pytest.fixture
def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*HINDERED, "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deadline, "HASTY", Limits(0.1, 0.1, 0.2, 0.4))
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0.05)  # between its three attempts


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("without_credentials")
@pytest.mark.parametrize("variable", ["METADATA", "CONTAINER"])
@pytest.mark.parametrize("manner", ["silent", "trickles its head", "trickles its body"])
def test_endless_metadata_is_unavailable_and_fetched_once(
    variable: str, manner: Manner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_slowly(manner) as server:
        if variable == "METADATA":
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        else:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url)
        clients.reset()
        table = Table(clients.dynamodb_client("eu-west-1"), name="sessions")
        assert server.accepted == 0  # Whoever makes a client waits for nothing.

        def ask(number: int) -> bool:
            with pytest.raises(TableUnavailable):
                run_sync(table.get(str(number)))
            return True

        with ThreadPoolExecutor(32) as pool:
            assert sum(pool.map(ask, range(32))) == 32
        assert server.accepted <= 4  # One flight: a token, a name, and once more at most.
        assert until(
            lambda: not running_refreshes()
        )  # It ends, although its response continues to trickle.


class Source:
    """Where credentials come from, for an hour each; fetching may fail, or take its time."""

    def __init__(self) -> None:
        self.fetched = 0
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def find(self) -> Any:
        return RefreshableCredentials.create_from_metadata(
            self.fetch(), refresh_using=self.fetch, method="test"
        )

    def fetch(self) -> dict[str, str]:
        self.meanwhile()
        self.fetched += 1
        if self.failure:
            raise self.failure
        name = f"key {self.fetched}"
        return {
            "access_key": name,
            "secret_key": "s",
            "token": "t",
            "expiry_time": in_seconds(3600).isoformat(),
        }


def running_refreshes() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "sessions_kms-lookup"]


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def credentials_ending_in(seconds: float, source: Source) -> SharedCredentials:
    """Return the first credentials of a source when they have so many seconds left."""
    credentials = SharedCredentials(source.find)
    assert credentials.get_frozen_credentials().access_key == "key 1"
    credentials._found._expiry_time = in_seconds(seconds)
    return credentials


def test_credentials_that_never_end_are_looked_for_once() -> None:
    looked: list[int] = []

    def find() -> Credentials:
        looked.append(1)
        return Credentials("key", "secret")

    credentials = SharedCredentials(find)
    assert [credentials.get_frozen_credentials().access_key for _ in range(3)] == ["key"] * 3
    assert credentials.secret_key == "secret"
    assert credentials.get_deferred_property("account_id")() is None
    assert looked == [1]


def test_credentials_near_their_expiry_are_renewed_in_the_background() -> None:
    source, going_on = Source(), threading.Event()
    credentials = credentials_ending_in(300, source)  # boto itself would have let everybody wait
    source.meanwhile = going_on.wait
    for _ in range(10):
        assert credentials.get_frozen_credentials().access_key == "key 1"
    going_on.set()
    assert until(lambda: credentials.get_frozen_credentials().access_key == "key 2")
    assert source.fetched == 2


def test_credentials_that_cannot_be_renewed_serve_until_their_end() -> None:
    source = Source()
    credentials = credentials_ending_in(300, source)
    source.failure = OSError("no route")
    for _ in range(10):
        assert credentials.get_frozen_credentials().access_key == "key 1"
    assert until(lambda: source.fetched == 2)  # and then it rests


def test_credentials_at_their_end_are_waited_for_by_all_and_fetched_once() -> None:
    source, going_on = Source(), threading.Event()
    credentials = credentials_ending_in(30, source)
    source.meanwhile = going_on.wait
    with ThreadPoolExecutor(16) as pool:
        found = [pool.submit(credentials.get_frozen_credentials) for _ in range(16)]
        assert until(lambda: credentials._lookups.busy() == 1)
        assert not any(each.done() for each in found)
        going_on.set()
        assert {each.result().access_key for each in found} == {"key 2"}
    assert source.fetched == 2


def test_whether_credentials_are_soon_due_is_asked_once_a_second_and_of_new_ones_at_once(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.aws.credentials.time", clock)
    credentials = SharedCredentials(Source().find)
    asked: list[int | None] = []
    credentials.get_frozen_credentials()
    found: Any = credentials._found
    monkeypatch.setattr(found, "refresh_needed", asked.append)
    for _ in range(3):
        assert credentials.current() is credentials.current()
        clock.advance(1)
    assert len(asked) == 3
    credentials.current()
    credentials._fetch()
    asked.clear()
    credentials.current()
    assert asked == [None]
    found.refresh_needed = lambda seconds: True
    assert credentials.current() is not None
    clock.advance(1)
    assert credentials.current() is None


def test_missing_credentials_fail_fast_for_a_second_before_the_next_lookup(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.aws.credentials.monotonic", clock)
    found: list[Credentials | None] = [None, Credentials("key", "secret")]
    credentials = SharedCredentials(lambda: found.pop(0))
    for _ in range(3):
        with pytest.raises(NoCredentialsError):
            credentials.get_frozen_credentials()
    clock.advance(RETRY_AFTER)
    assert credentials.get_frozen_credentials().access_key == "key"
