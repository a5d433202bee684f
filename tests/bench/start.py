"""A fresh process, until it has loaded its first session: what it took, as JSON.

    python -m tests.bench.start NAME KEY BEGAN

`BEGAN` is the moment at which the parent started it, on the clock that all processes share.
"""

from __future__ import annotations

import json
import sys
import time


def main(name: str, key: str, began: float) -> None:
    imported = cpu = 0.0
    if name == BARE:
        _load_bare(key)
    else:
        imported, cpu = _load(name, key)
    import psutil

    first = (time.monotonic() - began) * 1000
    memory = psutil.Process().memory_info().rss / 2**20
    sys.stdout.write(
        json.dumps({"import": imported, "import_cpu": cpu, "first": first, "memory": memory}) + "\n"
    )


def _load(engine: str, key: str) -> tuple[float, float]:
    """Load a session with an engine; return the milliseconds of its import, wall and CPU."""
    from importlib import import_module

    from tests.bench.django_site import set_up_child

    set_up_child()
    import_module("django.contrib.sessions.backends.base")
    import_module("django.contrib.auth.models")
    before, cpu_before = time.perf_counter(), time.process_time()
    module = import_module(engine)
    imported = (time.perf_counter() - before) * 1000
    cpu = (time.process_time() - cpu_before) * 1000
    if module.SessionStore(key).get("n") is None:
        raise LookupError("The session was not found.")
    return imported, cpu


def _load_bare(key: str) -> None:
    import boto3

    client = boto3.client("dynamodb", region_name="eu-west-1")
    client.get_item(TableName="sessions", Key={"id": {"S": key}}, ConsistentRead=True)


BARE = "boto3"

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
