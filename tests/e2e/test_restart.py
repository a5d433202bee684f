"""Signed in after a restart, and a token nowhere: the claims of the project, on real processes."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.back_door import BackDoor, session_key_of
from tests.e2e.signing_in import arrive, sign_in
from tests.e2e.stack import LocalStack

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.stack]

METADATA = {"id", "version", "createdAt", "updatedAt", "ttl", "revision", "keyPeriod"}
SEALED = {"encryptedData", "iv", "authTag", "encryptedKey", "salt", "commitment"}
OPTIONAL = {"owner", "ancestors"}
ATTRIBUTES = METADATA | SEALED | OPTIONAL
TOMBSTONE = {"id", "version", "movedAt", "ttl"}


def files_of_the_gateway(state: Path) -> list[Path]:
    """Every file that the gateway and the table wrote; the provider's own are the provider's."""
    return [
        path
        for path in state.rglob("*")
        if path.is_file() and "provider" not in path.relative_to(state).parts[0]
    ]


def test_person_is_still_signed_in_after_every_process_was_killed(
    page: Page, stack: LocalStack
) -> None:
    sign_in(page, stack)
    # The browser reports what it was loading when the processes were killed.
    page.wait_for_load_state("networkidle")
    before = session_key_of(page, stack)
    stack.kill_everything()
    stack.start()
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("ada")
    assert session_key_of(page, stack) == before


def test_tokens_are_in_the_session_and_in_nothing_else_that_was_written(
    page: Page, stack: LocalStack
) -> None:
    arrive(page, stack)
    html = page.content()
    back_door = BackDoor(stack.environment())
    session_key = session_key_of(page, stack)
    tokens = back_door.content(session_key)["oauth:local"]
    items = back_door.items()
    secrets = {
        "access token": tokens["access_token"],
        "refresh token": tokens["refresh_token"],
        "id token": tokens["id_token"],
        "session key": session_key,
    }
    assert all(len(secret) >= 20 for secret in secrets.values())
    files = files_of_the_gateway(stack.state)
    assert {"gateway.sqlite3", "gateway.log"} <= {path.name for path in files}
    assert any(path.parent.name == "dynamodb" or "dynamodb" in path.parts for path in files)
    found = [
        (name, path.name)
        for path in files
        for name, secret in secrets.items()
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
    assert not [name for name, secret in secrets.items() if secret in html]
    raw = b"".join(
        value if isinstance(value, bytes) else str(value).encode()
        for item in items
        for part in item.values()
        for value in part.values()
    )
    assert not [name for name, secret in secrets.items() if secret.encode() in raw]


def test_raw_record_has_exactly_the_attributes_of_the_format(page: Page, stack: LocalStack) -> None:
    arrive(page, stack)
    back_door = BackDoor(stack.environment())
    items = [item for item in back_door.items() if "#" not in item["id"]["S"]]
    moved = [item for item in items if set(item) == TOMBSTONE]
    sessions = [item for item in items if item not in moved]
    assert moved  # of the key before the sign-in
    assert [item for item in sessions if "owner" in item]
    assert all(set(item) - OPTIONAL == ATTRIBUTES - OPTIONAL for item in sessions)


def test_doctor_is_green_on_the_running_stack(stack: LocalStack) -> None:
    response = stack.manage("check_session_store", "--json")
    report = json.loads(response.stdout)
    assert response.returncode == 0, response.stdout + response.stderr
    assert report["ok"]
    assert len(report["checks"]) >= 12
