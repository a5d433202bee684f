"""The fixtures of these tests."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessions_kms import StoreUnavailable, outages
from sessions_kms.outages import Outage
from tests import ROOT
from tests.gateway_site.support.gateways import Gateway
from tests.support.clock import FakeClock
from tests.support.processes import running


@pytest.fixture(autouse=True)
def _others_had_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what tests before have refused in this process, moments ago."""
    unheard = Outage(logging.getLogger("store"), "store", "The store", FakeClock())
    monkeypatch.setattr(outages, "OUTAGES", {StoreUnavailable: unheard})


@pytest.fixture(scope="module")
def tools(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    command = [sys.executable, "-m", "tests.gateway_site.support.mcp_server", str(gateway.mcp_port)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    log: Path = tmp_path_factory.mktemp("mcp") / "log"
    with running(command, environment, log, gateway.mcp_port):
        yield gateway
