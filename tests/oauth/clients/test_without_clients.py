"""A gateway in a separate process: without OAuth clients, nothing of them exists."""

import json
import os
from typing import Any

import pytest

from tests import ROOT
from tests.gateway_site.support.gateways import upstream_variables
from tests.support.processes import module, run_to_end

# How it is configured: forms and rules, which are values, and read with the settings.
ALWAYS = ("oauth.clients.server", "oauth.clients.rules")
PARTS = (
    "oauth.clients.",
    "gateway_site.pages.app",
    "sessions_kms.sealed_items.tokens",
)


def run_program(**variables: str) -> Any:
    """Return what a gateway of these variables says."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.gateway_site.support.site_settings",
        "GATEWAY_TEST_DATABASE": "sqlite://:memory:",
        **variables,
    }
    done = run_to_end(module("tests.oauth.clients.support.probe"), environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def loaded_modules(said: Any) -> list[str]:
    return [
        each for each in said["modules"] if each.startswith(PARTS) and not each.startswith(ALWAYS)
    ]


@pytest.mark.slow
def test_nothing_is_imported_or_served_unless_enabled() -> None:
    off = run_program(**upstream_variables("TOOLS", 9))
    assert set(off["answers"].values()) == {404}
    assert off["challenge"] in {"", 'Cookie realm="gateway"'}
    assert loaded_modules(off) == []
    assert off["calls"] == []


@pytest.mark.slow
def test_everything_is_served_once_enabled() -> None:
    issuer = {"AUTHORIZATION_ISSUER": "http://127.0.0.1:8000", "CLIENTS_REGISTRATION": "1"}
    on = run_program(**upstream_variables("TOOLS", 9, CLIENTS="1"), **issuer)
    assert 404 not in on["answers"].values()
    assert on["challenge"].startswith("Bearer ")
    modules = loaded_modules(on)
    assert [part for part in PARTS if not any(name.startswith(part) for name in modules)] == []
    assert on["calls"]
