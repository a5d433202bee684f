"""Retries and their pauses equal those of boto's standard mode."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, partialmethod
from typing import Any

import botocore.endpoint
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.retries.standard import ExponentialBackoff

from sessions_kms.aws import calls as aws_calls
from sessions_kms.aws import clients
from sessions_kms.aws.calls import ATTEMPTS, Retries, RetryQuota, Service
from sessions_kms.aws.errors import Failure, retry_after
from sessions_kms.aws.http_client import body
from sessions_kms.aws.kms import KMS
from sessions_kms.aws.table_client import BotoRequest, call_table
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.support.scripted_server import Said, Server, running_by_script
from tests.support.cases import each_case

THROTTLED = Failure("ThrottlingException", 400)
NO_RESPONSE = Failure()


def pauses(
    *failures: Failure, service: str = "dynamodb", chance: float = 1.0
) -> list[float | None]:
    """Return the pauses of one call whose attempts fail so."""
    retries = Retries(RetryQuota(service, chance=lambda: chance))
    return [retries.pause_after(failure) for failure in failures]


@each_case(
    "failure",
    [
        NO_RESPONSE,
        THROTTLED,
        Failure("ProvisionedThroughputExceededException", 400),
        Failure("RequestTimeout", 408),
        Failure("InternalServerError", 500),
        Failure("ServiceUnavailable", 503),
        Failure("Unknown", 429),
    ],
)
def test_transient_failures_get_three_attempts(failure: Failure) -> None:
    made = [pause is not None for pause in pauses(*[failure] * ATTEMPTS)]
    assert made == [True, True, False]


@pytest.mark.parametrize(
    "failure",
    [
        Failure("AccessDeniedException", 400),
        Failure("ConditionalCheckFailedException", 400),
        Failure("TransactionConflictException", 400),
        Failure("ExpiredTokenException", 403),
    ],
)
def test_what_will_not_fare_better_is_asked_once(failure: Failure) -> None:
    assert pauses(failure) == [None]


def test_pauses_grow_and_are_spread_by_chance() -> None:
    assert pauses(NO_RESPONSE, NO_RESPONSE) == [0.025, 0.05]
    assert pauses(NO_RESPONSE, NO_RESPONSE, service="kms eu-west-1") == [0.05, 0.1]
    assert pauses(THROTTLED, THROTTLED) == [1, 2]
    assert pauses(NO_RESPONSE, chance=0.5) == [0.0125]


def test_service_may_request_a_longer_pause() -> None:
    asked = [pauses(THROTTLED._replace(retry_after=wait)) for wait in (0.0, 0.5, 1.5, 6.0, 60.0)]
    assert asked == [[1], [1], [1.5], [6], [6]]


@each_case(
    ("header", "seconds"),
    [("1500", 1.5), ("0", 0), ("-1", None), ("x", None), ("", None), ("9" * 400, None)],
)
def test_invalid_retry_after_is_ignored(header: str, seconds: float | None) -> None:
    assert retry_after({"x-amz-retry-after": header}) == seconds
    assert retry_after({}) is None


def test_outage_uses_retries_up_and_responses_bring_them_back() -> None:
    spent = RetryQuota("dynamodb", chance=lambda: 1)
    made = 0
    while Retries(spent).pause_after(NO_RESPONSE) is not None:
        made += 1
    assert made == 35  # 500 tokens, 14 each
    for _ in range(4):  # 10 are left
        Retries(spent).succeed()
    again = Retries(spent)
    assert again.pause_after(NO_RESPONSE) is not None
    again.succeed()
    assert Retries(spent).pause_after(NO_RESPONSE) is not None


# The same calls, answered by the same script, of boto's client and of ours.


GOOD = Said(200)
SCRIPT = [
    *[GOOD] * 3,
    Said(0),
    Said(400, "ThrottlingException"),
    Said(400, "ProvisionedThroughputExceededException"),
    Said(400, "ThrottlingException", (("x-amz-retry-after", "1700"),)),
    Said(503, "Busy", (("x-amz-retry-after", "120"),)),
    Said(500, "InternalServerError", (("x-amz-retry-after", "-4"),)),
    Said(400, "AccessDeniedException", (("x-amz-retry-after", "1"),)),
    Said(400, "ResourceNotFoundException"),
    Said(400, "RequestTimeout"),
    Said(400, "PriorRequestNotComplete"),
    Said(400, "EC2ThrottledException"),
    Said(400, "ReplicatedWriteConflictException"),
    Said(429),
    Said(429, "Unknown"),
    *[Said(status) for status in (500, 501, 502, 503, 504)],
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with running_by_script() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def send_call(service: Service, client: Any, **params: Any) -> Any:
    return run_sync(service.call(BotoRequest(client, "get_item", params)))


def our_client() -> Any:
    return clients.dynamodb_client("eu-west-1")


@contextmanager
def pausing(module: Any, name: str) -> Iterator[list[float]]:
    """Have pauses noted instead of made."""
    noted: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, noted.append)
        yield noted


def scripts() -> list[list[Said]]:
    """Return what is said to each of many calls: enough to use up the quota, and to fill it."""
    chance = random.Random(15)  # noqa: S311 - to be told again
    calls = []
    for number in range(150):
        good = 0.9 if 60 < number < 100 else 0.1
        calls.append(
            [GOOD if chance.random() < good else chance.choice(SCRIPT) for _ in range(ATTEMPTS)]
        )
    return calls


def schedule(
    server: Server, call: Any, noted: list[float], calls: list[list[Said]]
) -> list[tuple[int, list[float]]]:
    """Return how many requests each call made, and its pauses."""
    seen = []
    for said in calls:
        server.script, server.asked = list(said), []
        with suppress(ClientError, BotoCoreError, body.InvalidResponse):
            call(TableName="t", Key={"id": {"S": "x"}})
        seen.append((len(server.asked), noted.copy()))
        noted.clear()
    return seen


@pytest.mark.slow
def test_schedule_of_reads_is_the_one_of_botos_standard_mode(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ExponentialBackoff.__init__
    fixed = partialmethod(original, random=lambda: 0.5)
    monkeypatch.setattr(ExponentialBackoff, "__init__", fixed)
    # What has another checksum than it was sent with, boto takes where there is to be no retry.
    calls = [[Said(200, "", (("x-amz-crc32", "1"),)), GOOD], *scripts()]
    config = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
    boto: Any = botocore.session.Session().create_client("dynamodb", "eu-west-1", config=config)
    with pausing(botocore.endpoint.time, "sleep") as noted:  # type: ignore[attr-defined]
        theirs = schedule(server, boto.get_item, noted, calls)
    service, client = Service("dynamodb"), our_client()
    service.quota = RetryQuota("dynamodb", chance=lambda: 0.5)
    with pausing(aws_calls, "sleep") as noted:
        ours = schedule(server, partial(send_call, service, client), noted, calls)
    assert ours == theirs
    assert {len(each) for _, each in theirs} == {0, 1, 2}


def read() -> None:
    run_sync(call_table(our_client(), "get_item", TableName="t", Key={"id": {"S": "x"}}))


def decrypt() -> None:
    KMS().decrypt("arn:aws:kms:eu-west-1:111122223333:key/1", b"a", {})


@pytest.mark.parametrize("call", [read, decrypt])
def test_attempts_stay_within_the_time_of_the_call(
    server: Server, call: Callable[[], None]
) -> None:
    server.script = [Said(400, "ThrottlingException", (("x-amz-retry-after", "4000"),))]
    with pausing(aws_calls, "sleep") as noted, pytest.raises(StoreUnavailable) as caught:
        call()
    assert isinstance(caught.value.__cause__, ClientError)
    assert (len(server.asked), noted) == (1, [])
