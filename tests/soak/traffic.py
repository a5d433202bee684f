"""Visitors and apps use a fleet of gateways while processes are killed and AWS fails."""

import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests.sessions_kms.support.faults import running_proxy
from tests.soak.app_user import AppUser
from tests.soak.environment import environment_of
from tests.soak.fleet import Process, running_fleet
from tests.soak.ledger import Ledger
from tests.soak.report import faults, report
from tests.soak.visitor import Visitor
from tests.soak.watching import watched, without_warm_up
from tests.soak.weather import Weather
from tests.support.local_kms import running_kms
from tests.support.production.aws import REGION, TABLE
from tests.support.roto import running_roto

PROCESSES = 3
VISITORS, APPS = 8, 2
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
