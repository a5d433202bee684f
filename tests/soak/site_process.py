"""A process of a site whose sessions are kept by the engine, settings in the environment as JSON.

`python -m tests.soak.site_process COMMAND …` runs a command of Django;
`python -m tests.soak.site_process load` changes sessions until its stdin ends.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.processes import lines_until, module

ENVIRONMENT = "OPERATED_SESSIONS_KMS"


def start(settings: dict[str, Any], *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start such a process, with these environment variables changed."""
    return subprocess.Popen(
        module("tests.soak.site_process", *arguments),
        env={**os.environ, ENVIRONMENT: json.dumps(settings), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_result(process: "subprocess.Popen[str]") -> Any:
    """Wait for a command that was given --json; give what it printed."""
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err
    return json.loads(out)


@contextmanager
def under_load(
    settings: dict[str, Any], keys: list[str], processes: int
) -> Iterator[list[dict[str, Any]]]:
    """Have processes change sessions, each its own share; the list holds what they report."""
    shares = [keys[number::processes] for number in range(processes)]
    running = [start(settings, "load") for _ in shares]
    reports: list[dict[str, Any]] = []
    try:
        for process, share in zip(running, shares, strict=True):
            assert process.stdin
            process.stdin.write(json.dumps(share) + "\n")
            process.stdin.flush()
            assert lines_until(process) == ["ready\n"]
        yield reports
        for process in running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            reports.append(json.loads(out))
    finally:
        for process in running:
            process.kill()
            with process:
                pass


def load() -> None:
    """Read, change and save sessions in turn; report those that were not as this left them."""
    from sessions_kms.backend import SessionStore

    keys: list[str] = json.loads(sys.stdin.readline())
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
    counts = dict.fromkeys(keys, 0)
    report = {"saves": 0, "lost": 0}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not over.is_set():
        for key in keys:
            session = SessionStore(key)
            if session.get("count") != counts[key]:
                report["lost"] += 1
                continue
            session["count"] = counts[key] + 1
            session.save()
            counts[key] += 1
            report["saves"] += 1
            if over.is_set():
                break
    sys.stdout.write(json.dumps(report))


def _wait_for_the_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main() -> None:
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line

    from sessions_kms.concurrency import deadline

    settings.configure(
        SESSION_ENGINE="sessions_kms.backend",
        SESSIONS_KMS=json.loads(os.environ[ENVIRONMENT]),
        INSTALLED_APPS=["sessions_kms"],
        USE_TZ=True,
    )
    django.setup()
    deadline.HASTY = deadline.PATIENT  # for each page of a scan, roto reads the whole table
    if sys.argv[1] == "load":
        load()
    else:
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
