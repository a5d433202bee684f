"""Sign-ins, consents, endings and changes of rights as events."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from gateway_site.audit import receivers
from oauth.signals import grant_created
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.services import id_of, services
from sessions_kms.signals import session_opened
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.grants import BACKEND, CONSENT, TOKENS, GrantWorld, people
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.stacks import install

Events = list[dict[str, Any]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    found: Events = []
    monkeypatch.setattr(receivers, "is_on", lambda: True)
    monkeypatch.setattr(
        receivers, "record", lambda name, **fields: found.append({"event": name} | fields)
    )
    return found


def of(events: Events, name: str) -> Events:
    return [each for each in events if each["event"] == name]


def test_sign_in_and_what_ends_it(events: Events, corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    person = visitor.user_id
    assert of(events, "signed_in") == [{"event": "signed_in", "person": person, "provider": "corp"}]
    assert ending.end_sessions_of(services(), person) == 1
    [ended] = of(events, "session_ended")
    assert len(ended["session"]) == 8


def test_rejected_sign_in_has_its_code(
    events: Events, corp: FakeProvider, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, ALLOWED_DOMAINS="elsewhere.example"))
    visitor = Visitor()
    visitor.sign_in(corp)
    assert visitor.user_id is None
    [event] = of(events, "sign_in_rejected")
    assert event["provider"] == "corp"
    assert event["code"]


def test_rights_change_by_groups_a_command_and_the_admin(
    events: Events, corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, STAFF_GROUPS="admins"))
    corp.more_of_id_token = {"groups": ["admins"]}
    visitor.sign_in(corp)
    visitor.sign_in(corp)  # nothing changes
    ada = User.objects.get(pk=visitor.user_id or "")
    subject = ["--provider", "corp", "--subject", "1001", "--yes"]
    assert run("staff", "grant", "--superuser", *subject).status == 0
    root, client = User.objects.create_superuser("root"), Client()
    client.force_login(root)
    page = f"/admin/auth/user/{ada.pk}/change/"
    form = {"username": ada.username, "is_active": "on", "date_joined_0": "2026-01-01"}
    form |= {"date_joined_1": "00:00:00", "email": ada.email}
    assert client.post(page, form).status_code == 302
    found = of(events, "rights_changed")
    assert [(each["by"], each["is_staff"], each["is_superuser"]) for each in found] == [
        ("groups at corp", True, False),
        ("the command staff", True, True),
        (f"user {root.pk} in the admin", False, False),
    ]
    assert found[-1]["fields"] == ["is_staff", "is_superuser"]
    ada.delete()
    assert [each["person"] for each in of(events, "user_deleted")] == [visitor.user_id]


def test_consent_and_the_end_of_a_grant(events: Events, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    with people():
        one = GrantWorld()
        install(one.world.processes[0])
        issued = one.redeem(one.allow())
        run_sync(one.grants.revoke(issued.access_token, client_id=CONSENT.client_id))
    [consent] = of(events, "consent")
    assert (consent["client"], consent["upstream"], consent["provider"]) == (
        CONSENT.client_id,
        CONSENT.upstream,
        "corp",
    )
    [ended] = of(events, "grant_ended")
    assert (ended["session"], ended["reason"]) == (consent["session"], "revoked")
    assert not any(secret in str(events) for secret in (issued.access_token, TOKENS.access_token))


def test_sessions_that_are_read_are_remembered_only_with_a_log(
    events: Events, settings: Settings, corp: FakeProvider, visitor: Visitor
) -> None:
    receivers.connect()
    assert not session_opened.has_listeners()
    settings.AUDIT_LOG = True
    receivers.connect()
    try:
        visitor.sign_in(corp)
        anonymous = SessionStore()
        anonymous.save()
        SessionStore(anonymous.session_key).load()
        visitor.client.get("/")
        opened = of(events, "opened")
    finally:
        session_opened.disconnect(dispatch_uid="gateway_site.audit")
    assert {each["person"] for each in opened} == {visitor.user_id}
    key = visitor.client.cookies[settings.SESSION_COOKIE_NAME].value
    assert id_of(key)[:8] in {each["session"] for each in opened}
    assert grant_created.has_listeners()
