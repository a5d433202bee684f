"""Debian's Prometheus with our alarms, in seconds in place of minutes."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.deploy import DEPLOY
from tests.support.processes import free_port, running
from tests.support.waiting import wait_until

RULES = DEPLOY / "prometheus/rules.yaml"
PROMETHEUS = shutil.which("prometheus")


@contextmanager
def watching(folder: Path, target: int) -> Iterator[str]:
    """Run Prometheus, which scrapes a port of this machine; give its address."""
    assert PROMETHEUS is not None
    text = RULES.read_text("utf-8")
    for pattern, short in ((r"\[\d+[mh]\]", "[20s]"), (r"offset \d+[mh]", "offset 20s")):
        text = re.sub(pattern, short, text)
    text = re.sub(r"for: \d+m", "for: 1s", text)
    (folder / "rules.yaml").write_text(text, encoding="utf-8")
    (folder / "prometheus.yaml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [
                    {"job_name": "g", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
                ],
            }
        ),
        encoding="utf-8",
    )
    port = free_port()
    command = [
        PROMETHEUS,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    found = f"http://127.0.0.1:{port}"
    with running(command, {"PATH": "/usr/bin"}, folder / "log", port):
        wait_until(lambda: requests.get(f"{found}/-/ready", timeout=30).ok, "Prometheus is ready")
        yield found


def firing_alerts(address: str) -> set[str]:
    """Return the names of the alarms that fire."""
    alerts = requests.get(f"{address}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}
