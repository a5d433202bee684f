"""The machine of the measurement: processor, memory, versions and date, without names or paths."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "django",
    "boto3",
    "cryptography",
    "uvicorn",
    "httpx2",
    "django-dysession",
    "aws-encryption-sdk",
    "redis",
)


def facts() -> Iterator[tuple[str, str]]:
    """Yield the facts, each with its name."""
    yield "Date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    yield "Processor", f"{_processor()}, {os.cpu_count()} cores"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield "Memory", f"{memory:.0f} GiB"
    yield "Load average before", f"{os.getloadavg()[0]:.1f}"
    yield "Python", f"{platform.python_version()} ({sys.implementation.name})"
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"
    yield "redis-server", _redis_server()


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return found[1] if found else "unknown"


def _redis_server() -> str:
    program = shutil.which("redis-server")
    if program is None:
        return "not installed"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\S+)", told)
    return found[1] if found else "unknown"
