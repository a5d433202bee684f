"""Every kind of call gets exactly the response that is on record, with as many store reads."""

import json
from pathlib import Path

import pytest

from tests.gateway_site.support.response_log import FILE, record


@pytest.mark.slow
def test_calls_get_the_recorded_responses(tmp_path: Path) -> None:
    """After an intended change, run `python -m tests.gateway_site.support.response_log`."""
    expected = json.loads(FILE.read_text(encoding="utf-8"))
    found = record(tmp_path)
    assert {group: set(cases) for group, cases in found.items()} == {
        group: set(cases) for group, cases in expected.items()
    }
    changed = {
        f"{group}: {name}": (expected[group][name], response)
        for group, cases in found.items()
        for name, response in cases.items()
        if response != expected[group][name]
    }
    assert changed == {}
