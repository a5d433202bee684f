"""What the gateways of a soak need: a key, a table, an upstream, and a provider of many people."""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3

from sessions_kms.operations import provisioning
from tests.oauth.support.fake_provider import FakeProvider, Response, serving
from tests.soak.app_user import ENVIRONMENT
from tests.support.production import children
from tests.support.production.aws import AWS, REGION, TABLE
from tests.support.production.environment import environment

PERIODS = {"DATA_KEY_PERIOD": "60", "DATA_KEY_CACHE_AGE": "15", "DATA_KEY_MAX_STALE": "120"}
TOKEN_LIFETIME = 90  # seconds, so that tokens are refreshed meanwhile


@dataclass
class Crowd(FakeProvider):
    """Signs in a new person each time, or the one that the parameter `person` names.

    If all visitors were one person, their sessions would add up, and the pages grow with them.
    The refresh token says whose a token is.
    """

    rotates: bool = False  # A killed process takes a rotated token with it.
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        with self._turn:
            name = self.codes.get(form.get("code", ""), {}).get("person")
            known = self.people.get(form.get("refresh_token", ""))
            self.person = known or (_somebody(name) if name else self._somebody_new())
            response = super().token(form, authorization, github=github)
            if response[0] == 200 and (issued := json.loads(response[2]).get("refresh_token")):
                self.people[issued] = self.person
            return response

    def _somebody_new(self) -> dict[str, Any]:
        return _somebody(f"visitor-{next(self._numbers)}")


def _somebody(name: str) -> dict[str, Any]:
    return {"sub": name, "email": f"{name}@example.com", "name": name}


def environment_of(stack: ExitStack, folder: Path) -> dict[str, str]:
    client = boto3.client("kms", region_name=REGION)
    arn = client.create_key()["KeyMetadata"]["Arn"]
    list(provisioning.create_table(boto3.client("dynamodb", region_name=REGION), TABLE))
    upstream = stack.enter_context(
        children.python("tests.support.production.upstream", log=folder / "upstream.log")
    )
    provider = stack.enter_context(serving(Crowd))
    provider.expires_in = TOKEN_LIFETIME
    made = environment(
        AWS(arn), folder, issuer=provider.issuer, upstream=f"http://127.0.0.1:{upstream.said}"
    )
    made |= {"DJANGO_SETTINGS_MODULE": "tests.soak.settings", **PERIODS, **ENVIRONMENT}
    _migrate(os.environ | made)
    return os.environ | made


def _migrate(variables: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"], env=variables, check=True
    )
