"""A gateway process that its parent forks again whenever it dies.

    python -m tests.gateway_site.support.reborn PORT

As under a supervisor, the listening socket stays open: clients that connect in the meantime are
served by the next process. The engine is the real one with real servers; people come from an
authentication backend.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from tests import ROOT
from tests.gateway_site.support.gateways import upstream_variables
from tests.support.processes import free_ports, lines_until, module, started

ENVIRONMENT = "REBORN_SESSIONS_KMS"


@dataclass
class Reborn:
    """The test's handle of it."""

    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill the gateway (kill -9); the next one starts."""
        (serving,) = self.process.children()
        serving.kill()
        serving.wait()


@contextmanager
def running_reborn(
    sessions_kms: Mapping[str, Any], endpoints: Mapping[str, str], backend: str
) -> Iterator[Reborn]:
    """Run one with the upstream `open`, which does not listen."""
    port, nobody = free_ports(2)
    told = {"settings": sessions_kms, "endpoints": endpoints, "backend": backend}
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.gateway_site.support.site_settings",
        "GATEWAY_TEST_DATABASE": "sqlite://:memory:",
        "AUTHORIZATION_ISSUER": f"http://127.0.0.1:{port}",
        "CLIENTS_REGISTRATION": "1",
        ENVIRONMENT: json.dumps(told),
        **upstream_variables("OPEN", nobody, CLIENTS="1"),
    }
    command = module("tests.gateway_site.support.reborn", str(port))
    with started(command, environment, stdout=subprocess.PIPE, end=_end) as process:
        lines_until(process, "ready")
        yield Reborn(port, psutil.Process(process.pid))


def _end(process: subprocess.Popen[str]) -> None:
    parent = psutil.Process(process.pid)
    parent.suspend()  # so that it does not fork another
    for each in (*parent.children(), parent):
        each.kill()


def main() -> None:
    import django

    django.setup(set_prefix=False)

    import uvicorn  # noqa: F401 - so that no child has to
    from django.conf import settings

    from gateway_site import asgi  # noqa: F401
    from gateway_site.server import protocol  # noqa: F401

    told = json.loads(os.environ[ENVIRONMENT])
    settings.SESSIONS_KMS = told["settings"]
    os.environ |= told["endpoints"]  # now that the settings have dropped all that was there
    settings.AUTHENTICATION_BACKENDS = [told["backend"]]
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        bear(listener)


def bear(listener: socket.socket) -> None:
    """Fork a gateway, and another one when it has died."""
    while True:
        if (child := os.fork()) == 0:
            serve(listener)
            os._exit(0)
        os.waitpid(child, 0)


def serve(listener: socket.socket) -> None:
    import uvicorn

    from gateway_site.server import APPLICATION, OPTIONS

    uvicorn.run(APPLICATION, fd=listener.fileno(), log_config=None, **OPTIONS)


if __name__ == "__main__":
    main()
