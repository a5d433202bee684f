"""`python -m tests.soak [--minutes 20]`: exits with 1 when anything was wrong. Needs no AWS."""

import argparse
import os
import random
import re
import subprocess
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

from gateway_site.local.kms import running_kms
from sessions_kms.operations import provisioning
from tests.bench import children
from tests.bench.aws import AWS, REGION, TABLE
from tests.bench.gateway_environment import environment
from tests.conftest import AWS_ENVIRONMENT
from tests.oauth.support.fake_provider import serving
from tests.sessions_kms.support.faults import running_proxy
from tests.soak.app_user import ENVIRONMENT, AppUser
from tests.soak.crowd import Crowd
from tests.soak.fleet import Process, running_fleet
from tests.soak.ledger import Ledger
from tests.soak.report import faults, report
from tests.soak.visitor import Visitor
from tests.soak.watching import judged, watched
from tests.soak.weather import Weather
from tests.support.roto import running_roto

PROCESSES = 3
VISITORS, APPS = 8, 2
THINKING = 0.05  # seconds between two requests of a visitor
PERIODS = {"DATA_KEY_PERIOD": "60", "DATA_KEY_CACHE_AGE": "15", "DATA_KEY_MAX_STALE": "120"}
ERROR = re.compile(r"^Traceback .*\n(?:[ ].*\n)+([\w.]+).*$", re.MULTILINE)
TOKEN_LIFETIME = 90  # seconds, so that tokens are refreshed meanwhile


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    seconds = parser.parse_args().minutes * 60
    os.environ.update(AWS_ENVIRONMENT)
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
        tell = (ledger, judged(samples))
        errors = _errors(folder)
        sys.stdout.write(report(*tell, weather.calls, errors, seconds=seconds, keys=keys))
    return 1 if faults(*tell) else 0


def environment_of(stack: ExitStack, folder: Path) -> dict[str, str]:
    client = boto3.client("kms", region_name=REGION)
    arn = client.create_key()["KeyMetadata"]["Arn"]
    list(provisioning.create_table(boto3.client("dynamodb", region_name=REGION), TABLE))
    upstream = stack.enter_context(
        children.python("tests.bench.upstream", log=folder / "upstream.log")
    )
    provider = stack.enter_context(serving(Crowd))
    provider.expires_in = TOKEN_LIFETIME
    made = environment(
        AWS(arn), folder, issuer=provider.issuer, upstream=f"http://127.0.0.1:{upstream.said}"
    )
    made |= {"DJANGO_SETTINGS_MODULE": "tests.soak.settings", **PERIODS, **ENVIRONMENT}
    _migrate(os.environ | made)
    return os.environ | made


def _migrate(variables: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"], env=variables, check=True
    )


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


if __name__ == "__main__":
    sys.exit(main())
