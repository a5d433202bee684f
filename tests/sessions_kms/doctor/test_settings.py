"""Faults of the settings, as the doctor tells them: by the ids of the system checks."""

import time
from typing import Any

import pytest

from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import Store, check, only_trouble, troubles

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
DB = "django.contrib.sessions.backends.db"
PICKLE = "myproject.sessions.PickleSerializer"
USERS = ("django.contrib.auth", "django.contrib.contenttypes")

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "sessions_kms.W001": ({"SESSION_ENGINE": DB}, "SESSION_ENGINE = 'sessions_kms.backend'"),
    "sessions_kms.W003": ({"SESSION_COOKIE_AGE": 8 * 86400}, "Lower SESSION_COOKIE_AGE"),
    "sessions_kms.W006": (
        {"INSTALLED_APPS": ["allauth.usersessions", "sessions_kms", *USERS]},
        "Remove 'allauth.usersessions'",
    ),
    "sessions_kms.W007": ({"SOCIALACCOUNT_STORE_TOKENS": True}, "Remove the setting"),
    "sessions_kms.W009": ({"SESSION_COOKIE_SAMESITE": "None"}, "SESSION_COOKIE_SAMESITE = 'Lax'"),
    "security.W011": ({"SESSION_COOKIE_SECURE": False}, "SESSION_COOKIE_SECURE = True"),
    "security.W014": ({"SESSION_COOKIE_HTTPONLY": False}, "SESSION_COOKIE_HTTPONLY = True"),
}


@pytest.mark.parametrize("check_id", FAULTS)
def test_fault_is_reported_by_its_id_and_fixed_by_the_remedy(store: Store, check_id: str) -> None:
    settings, (changes, remedy) = store.settings, FAULTS[check_id]
    before = {name: getattr(settings, name, None) for name in changes}
    for name, value in changes.items():
        setattr(settings, name, value)
    found = only_trouble(check_id)
    assert found.level == "warning"
    assert remedy in found.remedy
    for name, value in before.items():
        setattr(settings, name, value)
    assert troubles() == {}


def test_middleware_in_the_wrong_order_is_found(store: Store) -> None:
    order = list(store.settings.MIDDLEWARE)
    store.settings.MIDDLEWARE = list(reversed(order))
    assert "first in MIDDLEWARE" in troubles()["sessions_kms.W002"].remedy
    store.settings.MIDDLEWARE = order
    assert troubles() == {}


def test_pickled_sessions_are_found(store: Store) -> None:
    store.settings.SESSION_SERIALIZER = PICKLE
    assert "JSONSerializer" in troubles()["sessions_kms.W008"].remedy


def test_far_future_cutoff_is_found_and_locks_nobody_out(store: Store) -> None:
    store.configure(NOT_BEFORE="2200-01-01T00:00:00Z")
    assert list(troubles()) == ["sessions_kms.W004"]


def test_moment_in_the_future_is_found_and_the_canary_is_left_nowhere(store: Store) -> None:
    store.configure(NOT_BEFORE=int(time.time()) + 290)
    found = troubles(canary=True)
    assert list(found) == ["sessions_kms.W004", "canary read"]
    assert "NOT_BEFORE" in found["canary read"].remedy
    assert store.sessions() == []
    store.configure()
    assert troubles() == {}


@pytest.mark.parametrize("raw", [None, {}, {"TABLE": "sessions"}])
def test_only_faulty_settings_are_reported(store: Store, raw: Any) -> None:
    store.settings.SESSIONS_KMS = raw
    status, report = check()
    assert status == 1
    failing = [each for each in report["checks"] if each["level"] == "failing"]
    assert failing
    assert all(each["name"].startswith("sessions_kms.E0") for each in failing)
    assert "KEY_ID" in " ".join(each["detail"] for each in failing)
    assert not [each for each in report["checks"] if each["name"].startswith("table")]


def test_missing_region_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    store.configure(REGION_NAME=None)
    found = troubles()
    assert list(found) == ["sessions_kms.E021", "not checked"]
    assert "AWS_REGION" in found["sessions_kms.E021"].remedy
    assert "The key's ARN has the Region eu-west-1." in found["sessions_kms.E021"].remedy
    assert found["not checked"].detail.startswith("client, table, kms key, rights on the table,")
    monkeypatch.setenv("AWS_REGION", checked_store.REGION)
    store.configure(REGION_NAME=None)
    assert troubles() == {}


def test_missing_credentials_are_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.delenv("AWS_ACCESS_KEY_ID")
        patched.delenv("AWS_SECRET_ACCESS_KEY")
        store.configure()
        found = troubles()
    assert list(found) == ["client", "not checked"]
    assert found["client"].detail == "NoCredentialsError: Unable to locate credentials"
    assert "aws sts get-caller-identity" in found["client"].remedy
    store.configure()
    assert troubles() == {}


@pytest.mark.parametrize(
    ("variable", "value", "left_out"),
    [
        ("AWS_PROFILE", "nobody", "table, kms key, rights on the table"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "no-address", "table, rights on the table, over-grants"),
    ],
)
def test_wrong_configuration_of_aws_is_one_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, left_out: str
) -> None:
    monkeypatch.setenv(variable, value)
    store.configure(CLIENT="auto")
    found = troubles()
    assert [each for each in found if found[each].level == "failing"] == ["client"]
    assert "AWS_" in found["client"].remedy
    assert found["not checked"].detail.startswith(left_out)


def test_password_in_an_endpoint_is_not_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://user:hunter2@127.0.0.1:9")
    store.configure(CLIENT="auto")
    _, report = check("--no-canary")
    assert "Could not connect" in str(report)
    assert "hunter2" not in str(report)


def test_silenced_check_is_not_reported(store: Store) -> None:
    store.settings.SESSION_COOKIE_SAMESITE = "None"
    silenced = store.settings.SILENCED_SYSTEM_CHECKS
    store.settings.SILENCED_SYSTEM_CHECKS = [*silenced, "sessions_kms.W009"]
    assert troubles() == {}


def test_flags_of_the_cookie_are_no_matter_while_debugging(store: Store) -> None:
    store.settings.SESSION_COOKIE_SECURE = False
    store.settings.DEBUG = True
    assert troubles() == {}


def test_saving_at_every_request_is_reported_and_is_no_fault(store: Store) -> None:
    store.settings.SESSION_SAVE_EVERY_REQUEST = True
    _, report = check("--no-canary")
    (told,) = [each for each in report["checks"] if each["name"] == "settings saving"]
    assert told["level"] == "ok"
    assert told["detail"].startswith("on every request")
