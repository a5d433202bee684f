"""This machine's clock against AWS's, by the `Date` of an answer, and the engine's between them."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from sessions_kms.aws import clients, errors
from sessions_kms.aws.clock import OFFSET_MAX, ServerClock, local_clock, parse_date
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import guarded, in_time
from sessions_kms.services import services

NAME = "clock"
WARN = 60  # seconds
FAIL = 24 * 3600  # seconds; TLS and the credentials of roles go by the machine's clock
REMEDY = (
    "Set this machine's clock by NTP (`chronyc makestep`, say) and keep it so. Sessions, tokens and"
    " signatures go by DynamoDB's clock meanwhile; TLS and the credentials of roles do not."
)


def clock_findings(config: Config) -> Iterator[Finding]:
    """Compare the clocks."""
    yield from guarded(NAME, partial(_findings, config))


def _findings(config: Config) -> Iterator[Finding]:
    there = parse_date(_headers(config).get("date"))
    if there is None:
        yield ok(NAME, "cannot be told: DynamoDB gave no Date")
        return
    clock = services().clock
    skew = round(local_clock(clock)() - there)
    detail = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    if abs(skew) > WARN and isinstance(clock, ServerClock):
        detail += _correction(clock)
    if abs(skew) > FAIL:
        yield failing(NAME, detail, REMEDY)
    elif abs(skew) > WARN:
        yield warning(NAME, detail, REMEDY)
    else:
        yield ok(NAME, detail)


def _correction(clock: ServerClock) -> str:
    if abs(clock.offset) > OFFSET_MAX:
        return "; that is more than a week, and nothing can be told"
    return f", which the engine corrects by {clock.offset:+.0f} s"


def _headers(config: Config) -> Mapping[str, str]:
    client = clients.dynamodb_client(config.region_name)
    key = {"id": {"S": "canary-clock"}}
    answer: Any
    try:
        answer = in_time(partial(client.get_item, TableName=config.table_name, Key=key))
    except Exception as exc:  # noqa: BLE001 - that DynamoDB is out of reach is another finding
        # A refusal tells the time as well; for one, that of a request signed at a wrong time.
        answer = exc.response if errors.is_client_error(exc) else {}
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
