"""canaille in a separate process, for tests of a client."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.openid_provider import OpenIDProvider
from tests.support.processes import running

PASSWORD = "a password that is long enough"


class CanailleProvider(OpenIDProvider):
    """The same client at another program with other pages."""

    def __init__(self, gateway: str) -> None:
        super().__init__("canaille", gateway)
        self.options |= {"person": "ada", "password": PASSWORD}

    @property
    def variables(self) -> dict[str, str]:
        """The gateway's variables; canaille has no offline_access and another userinfo URL."""
        return super().variables | {
            "OAUTH_CANAILLE_SCOPES": "openid,profile,email",
            "OAUTH_CANAILLE_AUTH_PARAMS": "",
            "UPSTREAM_CANAILLE_PATHS": "/oauth/userinfo",
        }

    @contextmanager
    def running(self, log: Path) -> Iterator[None]:
        """Run it. Fails if it is not installed; `make interop` installs it."""
        python = Path(os.environ.get("CANAILLE_PYTHON", "none"))
        if not python.is_file():
            pytest.fail("canaille is not installed; ARGS=--without=canaille leaves it out")
        command = [str(python.absolute()), "tests/interop/canaille_site.py"]
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": ""}
        with running([*command, json.dumps(self.options)], variables, log, self.port):
            yield
