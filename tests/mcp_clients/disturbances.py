"""The eight things that happen to a signed-in client: to its tokens, its grant, and the gateway.

A running stack and a person enter; what leaves is a stack that runs again, disturbed. Knows no
client. Each says by an assertion that it struck.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import boto3
import psutil
import requests
from playwright.sync_api import Page, expect

from tests.e2e.clients import register_client
from tests.e2e.confirming import show_ending
from tests.e2e.stack import LocalStack
from tests.mcp_clients.person import Person

REFRESH_WINDOW = 60  # seconds, as in `oauth.clients.token_pair`
ACCESS_TOKEN_AGE = 60  # seconds, the least that the gateway takes: it is waited for
PROVIDER_TOKEN_LIFE = 90  # seconds; the gateway refreshes it at half of that
YOUNG = 30  # seconds in which the gateway replaces no token that is refused: it answers 502
OUTAGE = 30  # seconds
ALIAS = "alias/gateway-local"  # by which `runlocal` knows its key

VARIABLES = {
    "CLIENTS_ACCESS_TOKEN_AGE": str(ACCESS_TOKEN_AGE),
    "CLIENTS_DPOP": "1",
    "CLIENTS_PRIVATE_KEY_JWT": "1",
    "PROVIDER_ACCESS_TOKEN_LIFE": str(PROVIDER_TOKEN_LIFE),
}


@dataclass(frozen=True)
class World:
    """What a disturbance may take hold of."""

    stack: LocalStack
    person: Person
    pause: Callable[[float], None] = time.sleep


def access_token_expired(world: World) -> None:
    """Wait until every access token that clients hold has ended, as they themselves know."""
    world.pause(ACCESS_TOKEN_AGE + 2)


def provider_token_expired(world: World) -> None:
    """Wait until the token within the grant has ended, at the provider too."""
    world.pause(PROVIDER_TOKEN_LIFE + 2)


def grant_ended(world: World) -> None:
    """The person disconnects all apps."""

    def disconnect(page: Page) -> None:
        page.goto(f"{world.stack.url}/apps/")
        button = show_ending(page, "Disconnect all apps")
        button.scroll_into_view_if_needed()  # It counts once it has been seen for a second.
        button.click()
        expect(page.get_by_role("main").get_by_role("status")).to_contain_text("disconnected")

    world.person.do(disconnect)


def grant_ended_before(world: World) -> None:
    """The person disconnected all apps, longer ago than a client can have to wait.

    mcp-remote refreshes before each request if a token has less than five minutes left, as all have
    here; who has refreshed ten times in a minute is told to wait, and not yet that the grant ended.
    """
    grant_ended(world)
    world.pause(REFRESH_WINDOW + 1)


def gateway_killed(world: World) -> None:
    """`kill -9` everything, and start it again."""
    world.stack.kill_everything()
    world.stack.start()


def secret_key_rotated(world: World) -> None:
    """Start with another SECRET_KEY; the earlier one still counts."""
    file = world.stack.state / "secret-key"
    world.stack.end()
    world.stack.variables["DJANGO_SECRET_KEY_FALLBACKS"] = file.read_text(encoding="utf-8")
    file.write_text(secrets.token_urlsafe(48), encoding="utf-8")
    world.stack.start()


def kms_key_moved(world: World) -> None:
    """Wrap everything with another KMS key, as the manual has it, and disable the one before."""
    environment = world.stack.environment()
    kms = _kms(environment)
    before = environment["KMS_KEY_ARN"]
    after = kms.create_key(Description="moved")["KeyMetadata"]["Arn"]
    moved = {"KMS_KEY_ARN": after, "DECRYPT_KEY_ARNS": before}
    done = world.stack.manage("rewrap_sessions", "--no-wait", "--no-input", variables=moved)
    assert done.returncode == 0, done.stdout + done.stderr
    kms.disable_key(KeyId=before)
    world.stack.end()
    # `runlocal` finds its key by the alias, and the local KMS cannot move one.
    with closing(sqlite3.connect(world.stack.state / "kms.sqlite3")) as database, database:
        target = json.dumps({"key_id": after.rpartition("/")[2]})
        moved_to = database.execute(
            "UPDATE aliases SET attributes = ? WHERE name LIKE ?", [target, f"%:{ALIAS}"]
        )
        assert moved_to.rowcount == 1
    world.stack.start()
    assert world.stack.environment()["KMS_KEY_ARN"] == after


def provider_grant_dead(world: World) -> None:
    """The provider forgets every token that it gave; some time later none of them is quite new.

    Later, since a client that stays open may call by itself, and its token be renewed by that; and
    since mcp-remote may have to wait (see above).
    """
    with closing(sqlite3.connect(world.stack.state / "provider" / "provider.sqlite3")) as database:
        ended = database.execute("DELETE FROM allauth_idp_oidc_token").rowcount
        database.commit()
    assert ended
    world.pause(max(YOUNG, REFRESH_WINDOW) + 2)


def store_stopped(world: World) -> None:
    """Stop the table's process, once access tokens have ended, so that clients have to refresh."""
    world.pause(ACCESS_TOKEN_AGE + 2)
    _table(world.stack).suspend()


def store_back(world: World) -> None:
    """Have the table's process go on, after a while in which no token could be had.

    A client that got Retry-After waits for it.
    """
    form = {
        "grant_type": "refresh_token",
        "refresh_token": f"gwr_{'a' * 32}",
        "client_id": register_client(world.stack, "http://127.0.0.1/callback"),
    }
    try:
        world.pause(OUTAGE)
        response = requests.post(f"{world.stack.url}/oauth/token", form, timeout=OUTAGE)
        assert response.status_code == 503, response.text
    finally:
        _table(world.stack).resume()
    world.pause(int(response.headers["Retry-After"]) + 1)


@dataclass(frozen=True)
class Disturbance:
    """What happens; where it passes again, clients call while it lasts as well."""

    name: str
    strike: Callable[[World], None]
    passes: Callable[[World], None] | None = None
    renews_token: bool = False  # the one of the provider that the MCP server gets


DISTURBANCES = (
    Disturbance("access token expired", access_token_expired),
    Disturbance("provider's token expired", provider_token_expired, renews_token=True),
    Disturbance("gateway killed", gateway_killed),
    Disturbance("SECRET_KEY rotated", secret_key_rotated),
    Disturbance("KMS key moved", kms_key_moved),
    Disturbance("store away for 30 s", store_stopped, passes=store_back),
    Disturbance("grant ended by the person", grant_ended_before),
    Disturbance("provider's grant dead", provider_grant_dead),
)


def _table(stack: LocalStack) -> psutil.Process:
    assert stack.process is not None
    family = psutil.Process(stack.process.pid).children(recursive=True)
    (found,) = (each for each in family if "roto-server" in " ".join(each.cmdline()))
    return found


def _kms(environment: Mapping[str, str]) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=environment["AWS_ENDPOINT_URL_KMS"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
