"""Visitors and apps use a fleet of gateways while processes are killed and AWS fails."""

import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.sessions_kms.support.faults import (
    Fault,
    FaultProxy,
    drop_connection,
    error,
    running_proxy,
)
from tests.soak import watching
from tests.soak.app_user import AppUser
from tests.soak.environment import environment_of
from tests.soak.fleet import Process, running_fleet
from tests.soak.ledger import Ledger
from tests.soak.visitor import Visitor
from tests.soak.watching import Sample, watched, without_warm_up
from tests.support.local_kms import running_kms
from tests.support.production.aws import REGION, TABLE
from tests.support.roto import running_roto

PROCESSES = 3
VISITORS, APPS = 8, 2
CALM = 10.0  # seconds between two disturbances
OUTAGE = 6.0  # seconds
OF_KMS = ("GenerateDataKey", "Decrypt")
OF_TABLE = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "Query")
THINKING = 0.05  # seconds between two requests of a visitor
ERROR = re.compile(r"^Traceback .*\n(?:[ ].*\n)+([\w.]+).*$", re.MULTILINE)


def run(seconds: float) -> int:
    """Print a report of this much traffic; return 1 if anything was wrong."""
    ledger = Ledger()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        table = stack.enter_context(running_proxy(stack.enter_context(running_roto())))
        kms = stack.enter_context(running_proxy(stack.enter_context(running_kms()).url))
        os.environ |= {"AWS_ENDPOINT_URL_DYNAMODB": table.url, "AWS_ENDPOINT_URL_KMS": kms.url}
        fleet = stack.enter_context(running_fleet(PROCESSES, environment_of(stack, folder), folder))
        weather = Weather(fleet, kms, table, ledger)
        deadline = time.monotonic() + seconds
        with watched(fleet[0].pid) as samples, _visitors(fleet, ledger, deadline):
            weather.until(deadline)
        keys = _data_keys()
        tell = (ledger, without_warm_up(samples))
        errors = _errors(folder)
        sys.stdout.write(report(*tell, weather.calls, errors, seconds=seconds, keys=keys))
    return 1 if faults(*tell) else 0


@contextmanager
def _visitors(fleet: list[Process], ledger: Ledger, deadline: float) -> Iterator[None]:
    """Let visitors come until the deadline; then each looks whether its session is as it was."""
    threads = [
        threading.Thread(target=_visit, args=(visitor, fleet, ledger, deadline))
        for visitor in _crowd(fleet, ledger)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def _crowd(fleet: list[Process], ledger: Ledger) -> Iterator[Visitor]:
    """Yield visitors, and people whose apps call; the same course each time, if all keep pace."""
    for number in range(VISITORS + APPS):
        chance = random.Random(number)  # noqa: S311 - no secret
        if number < VISITORS:
            yield Visitor(fleet, ledger, chance)
        else:
            yield AppUser(fleet, ledger, chance, f"app-user-{number}")


def _visit(visitor: Visitor, fleet: list[Process], ledger: Ledger, deadline: float) -> None:
    try:
        while time.monotonic() < deadline:
            visitor.act()
            time.sleep(THINKING)
        for _ in fleet:
            visitor.read()
    except Exception as error:
        ledger.violation(f"a visitor gave up: {error!r}")
        raise
    finally:
        visitor.close()


def _data_keys() -> int:
    """Count the data keys that the fleet published."""
    client: Any = boto3.client("dynamodb", region_name=REGION)
    pages = client.get_paginator("scan").paginate(TableName=TABLE, ProjectionExpression="id")
    return sum(item["id"]["S"].startswith("data-key#") for page in pages for item in page["Items"])


def _errors(folder: Path) -> Counter[str]:
    """Return the errors that the processes logged with a traceback, and how often each."""
    logs = [log.read_text(encoding="utf-8", errors="replace") for log in folder.glob("gateway-*")]
    return Counter(error for log in logs for error in ERROR.findall(log))


class Weather:
    """Disturbs one thing after another. The first process is spared: its memory is watched."""

    def __init__(
        self, fleet: list[Process], kms: FaultProxy, table: FaultProxy, ledger: Ledger
    ) -> None:
        self._fleet = fleet
        self._kms = kms
        self._table = table
        self._ledger = ledger
        self.calls: Counter[str] = Counter()

    def until(self, deadline: float) -> None:
        """Disturb until this moment of the monotonic clock; then all is well again."""
        while True:
            for disturb in self._disturbances():
                self._wait(CALM, deadline)
                if time.monotonic() + OUTAGE >= deadline:
                    return
                disturb()
                self._count()

    def _disturbances(self) -> list[Callable[[], None]]:
        throttled = error("ThrottlingException")
        exhausted = error("ProvisionedThroughputExceededException")
        return [
            lambda: self._kill(self._fleet[1]),
            lambda: self._outage("KMS unreachable", self._kms, OF_KMS, drop_connection),
            lambda: self._outage("table unreachable", self._table, OF_TABLE, drop_connection),
            lambda: self._kill(self._fleet[2]),
            lambda: self._outage("KMS throttled", self._kms, OF_KMS, throttled),
            lambda: self._outage("table throttled", self._table, OF_TABLE, exhausted),
            lambda: self._outage("KMS key disabled", self._kms, OF_KMS, error("DisabledException")),
        ]

    def _kill(self, process: Process) -> None:
        with self._ledger.disturbance("process killed", kills=True):
            process.kill()
            process.start()
            process.wait()

    def _outage(
        self, name: str, proxy: FaultProxy, operations: tuple[str, ...], fault: Fault
    ) -> None:
        self._count()
        with self._ledger.disturbance(name):
            for operation in operations:
                proxy.on(operation, fault)
            time.sleep(OUTAGE)
            self._count()  # which heals

    def _wait(self, seconds: float, deadline: float) -> None:
        time.sleep(max(0.0, min(seconds, deadline - time.monotonic())))

    def _count(self) -> None:
        """Count the calls until now; heal, which also empties what the proxies recorded."""
        for proxy in (self._kms, self._table):
            self.calls.update(proxy.operations)
            proxy.heal()


def faults(ledger: Ledger, samples: Sequence[Sample]) -> list[str]:
    """Return what must not be."""
    found = list(ledger.violations)
    if not watching.is_memory_flat(samples):
        found.append(f"memory grew by {watching.memory_growth(samples):.1f} MiB")
    if not watching.are_descriptors_flat(samples):
        found.append(f"descriptors grew by {watching.descriptor_growth(samples):.1f}")
    return found


def report(
    ledger: Ledger,
    samples: Sequence[Sample],
    calls: Mapping[str, int],
    errors: Mapping[str, int],
    *,
    seconds: float,
    keys: int,
) -> str:
    """Return the report; the samples are those after the warm-up."""
    found = faults(ledger, samples)
    total = sum(ledger.requests.values())
    memory = [each.memory for each in samples]
    descriptors = [each.descriptors for each in samples]
    lines = [
        f"{seconds / 60:.0f} minutes, {total:,} requests ({total / seconds:.0f} a second),"
        f" {len(ledger.disturbances)} disturbances, {keys} data keys of the fleet.",
        "",
        *_table("request", ledger.requests),
        *_table("answer", ledger.responses),
        *_table("disturbance", Counter(each.name for each in ledger.disturbances)),
        *_table("explained failure", ledger.explained),
        *_table("call of AWS", calls),
        *_table("error that was logged with a traceback", errors),
        f"The process that ran throughout, for {(samples[-1].at - samples[0].at) / 60:.1f} minutes"
        f" after its warm-up: memory {min(memory):.1f} to {max(memory):.1f} MiB, growing by"
        f" {watching.memory_growth(samples):+.1f}; {min(descriptors)} to {max(descriptors)} open"
        f" descriptors, growing by {watching.descriptor_growth(samples):+.1f} (both by the line of"
        f" least squares); {samples[-1].threads} threads at last.",
        "",
        f"**{len(found)} faults.**" if found else "**No fault.**",
        *(f"- {each}" for each in found[:50]),
    ]
    return "\n".join(lines) + "\n"


def _table(head: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {count:,} |" for name, count in sorted(counts.items())]
    return [f"| {head} | times |", "|---|--:|", *rows, ""]
