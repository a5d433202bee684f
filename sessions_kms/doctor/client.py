"""The finding `client`: which client sends DynamoDB requests, and why."""

from collections.abc import Iterator
from functools import partial

from sessions_kms.aws import clients
from sessions_kms.aws.client_choice import capture_requests, choose, target_of
from sessions_kms.aws.errors import ClientUnsupported
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok
from sessions_kms.doctor.trouble import guarded

NAME = "client"


def client_findings(config: Config) -> Iterator[Finding]:
    """Choose a client as the engine does."""
    yield from guarded(NAME, partial(_findings, config))


def _findings(config: Config) -> Iterator[Finding]:
    boto = clients.dynamodb_client(config.region_name)
    try:
        choice = choose(boto, config.client)
    except ClientUnsupported as exc:
        yield failing(NAME, "the built-in client is set, and cannot be used", str(exc))
        return
    if not choice.is_builtin:
        yield ok(NAME, f"boto: {choice.reason}")
        return
    capture_requests(boto)
    target = target_of(boto, config.table_name)
    if target is None:
        yield ok(NAME, "boto: the endpoint is more than a host and a port")
    else:
        yield ok(NAME, f"built-in, for {target.endpoint.url}: {choice.reason}")
