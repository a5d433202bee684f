"""Who asks the table, boto or the wire, and why."""

from collections.abc import Iterator
from functools import partial

from sessions_kms.aws import clients
from sessions_kms.aws.client.choice import choose
from sessions_kms.aws.client.targets import target_of, tell_targets
from sessions_kms.aws.client.wish import WireImpossible
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok
from sessions_kms.doctor.trouble import guarded

NAME = "client"


def client_findings(config: Config) -> Iterator[Finding]:
    """Choose as the engine does."""
    yield from guarded(NAME, partial(_findings, config))


def _findings(config: Config) -> Iterator[Finding]:
    boto = clients.dynamodb_client(config.region_name)
    try:
        choice = choose(boto, config.client)
    except WireImpossible as exc:
        yield failing(NAME, "the wire is wished for, and cannot ask", str(exc))
        return
    if not choice.by_wire:
        yield ok(NAME, f"boto asks: {choice.why}")
        return
    tell_targets(boto)
    target = target_of(boto, config.table_name)
    if target is None:
        yield ok(NAME, "boto asks: the endpoint is more than a host and a port")
    else:
        yield ok(NAME, f"the wire asks {target.endpoint.url}: {choice.why}")
