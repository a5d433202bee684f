"""This machine's clock against AWS's, by the `Date` of an answer."""

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from sessions_kms import aws, aws_errors
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.doctor.trouble import guarded
from sessions_kms.services import services

NAME = "clock"
WARN = 60  # seconds
FAIL = 240  # seconds; at record.CLOCK_SKEW, 300, others refuse what this machine seals
REMEDY = (
    "Set this machine's clock by NTP (`chronyc makestep`, say) and keep it so: at 300 seconds"
    " others refuse its sessions, and AWS its requests."
)


def clock_findings(config: Config) -> Iterator[Finding]:
    """Compare the clocks."""
    yield from guarded(NAME, partial(_findings, config))


def _findings(config: Config) -> Iterator[Finding]:
    date = _headers(config).get("date")
    if date is None:
        yield ok(NAME, "cannot be told: the answer has no Date")
        return
    skew = round(services().clock() - parsedate_to_datetime(date).timestamp())
    detail = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} AWS's"
    if abs(skew) > FAIL:
        yield failing(NAME, detail, REMEDY)
    elif abs(skew) > WARN:
        yield warning(NAME, detail, REMEDY)
    else:
        yield ok(NAME, detail)


def _headers(config: Config) -> Mapping[str, str]:
    client = aws.dynamodb_client(config.region_name)
    answer: Any
    try:
        answer = client.get_item(TableName=config.table_name, Key={"id": {"S": "canary-clock"}})
    except Exception as exc:
        # A refusal tells the time as well; for one, that of a request signed at a wrong time.
        if not aws_errors.is_client_error(exc):
            raise
        answer = exc.response
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
