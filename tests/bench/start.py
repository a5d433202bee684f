"""Measures a new process until it has loaded its first session, and prints the result as JSON.

    python start.py NAME KEY BEGAN

`BEGAN` is the time at which the parent started it, on a clock that all processes share. It is run
by its path and imports nothing from the benchmarks, which would import half of the measured code.
"""

import json
import os
import sys
import time
from importlib import import_module

VARIABLE = "BENCH_SITE"  # the environment variable with a child's settings
BARE = "boto3"
IMPORT_ONLY = "-"  # in place of a key


def main(name: str, key: str, began: float) -> None:
    found: dict[str, float] = {}
    if name == BARE:
        _load_bare(key)
    else:
        found = _load(name, key)
    found["first"] = (time.monotonic() - began) * 1000
    import psutil

    found["memory"] = psutil.Process().memory_info().rss / 2**20
    sys.stdout.write(json.dumps(found) + "\n")


def _load(engine: str, key: str) -> dict[str, float]:
    """Load a session with an engine; return the CPU milliseconds of its import.

    If only the import is measured, boto3 is imported first.
    """
    _set_up()
    if key == IMPORT_ONLY:
        import_module("boto3")
    before = time.process_time()
    module = import_module(engine)
    cpu = (time.process_time() - before) * 1000
    if key != IMPORT_ONLY and module.SessionStore(key).get("n") is None:
        raise LookupError("The session was not found.")
    return {"import_cpu": cpu}


def _set_up() -> None:
    """Set up a project with sessions, before the engine's module is imported."""
    import django
    from django.conf import settings

    settings.configure(**json.loads(os.environ[VARIABLE]))
    django.setup()
    import_module("django.contrib.sessions.backends.base")
    import_module("django.contrib.auth.models")


def _load_bare(key: str) -> None:
    import boto3

    client = boto3.client("dynamodb", region_name="eu-west-1")
    client.get_item(TableName="sessions", Key={"id": {"S": key}}, ConsistentRead=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
