"""The settings dict: valid values, and errors with a remedy for invalid ones."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from sessions_kms import conf, services
from sessions_kms.aws import clients
from sessions_kms.conf import Config, config
from tests.support.cases import each_case

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-0123456789abcdef"
DAY = 24 * 3600
REQUIRED = {"KEY_ID": KEY, "TABLE_NAME": "sessions"}


def parse(**extra: Any) -> Config:
    raw = REQUIRED | extra
    assert list(conf.faults(raw)) == []
    return conf.parse(raw)


def fault(**extra: Any) -> conf.Fault:
    (found,) = conf.faults(REQUIRED | extra)
    return found


def test_two_settings_are_enough() -> None:
    assert parse() == Config(key_id=KEY, table_name="sessions")


def test_defaults_are_those_of_the_design() -> None:
    made = parse()
    assert (made.region_name, made.namespace, dict(made.encryption_context)) == (None, "django", {})
    assert (made.decrypt_key_ids, made.not_before) == ((), None)
    assert made.absolute_timeout == 7 * DAY
    assert made.anonymous_max_size is None
    assert (made.data_key_period, made.data_key_cache_age, made.data_key_max_stale) == (
        DAY,
        300,
        3600,
    )


def test_every_field_has_a_setting_and_every_setting_a_field() -> None:
    assert {field.name.upper() for field in fields(Config)} == set(conf.FIELDS)


@pytest.mark.parametrize(
    ("absolute", "grants", "grant_age", "longest"),
    [
        (DAY, None, DAY, DAY),
        (DAY, 60, 60, DAY),
        (DAY, 30 * DAY, 30 * DAY, 30 * DAY),
        (None, None, 90 * DAY, None),
        (365 * DAY, None, 90 * DAY, 365 * DAY),
    ],
)
def test_grants_have_an_absolute_timeout_of_their_own_and_always_one(
    absolute: int | None, grants: int | None, grant_age: int, longest: int | None
) -> None:
    made = parse(ABSOLUTE_TIMEOUT=absolute, GRANT_TIMEOUT=grants)
    assert (made.grant_age, made.longest_age) == (grant_age, longest)


GOOD: list[tuple[str, Any, Any]] = [
    ("KEY_ID", OTHER_KEY, OTHER_KEY),
    ("TABLE_NAME", "a.b-c_D9", "a.b-c_D9"),
    ("TABLE_NAME", "arn:aws:dynamodb:eu-west-1:123456789012:table/sessions", None),
    ("REGION_NAME", None, None),
    ("REGION_NAME", "us-gov-west-1", "us-gov-west-1"),
    ("NAMESPACE", "A", "A"),
    ("NAMESPACE", "x" * 64, "x" * 64),
    ("NAMESPACE", "shop.example-1_b", "shop.example-1_b"),
    ("ENCRYPTION_CONTEXT", {}, {}),
    ("ENCRYPTION_CONTEXT", {"app": "shop"}, {"app": "shop"}),
    ("DECRYPT_KEY_IDS", [], ()),
    ("DECRYPT_KEY_IDS", (KEY, OTHER_KEY, KEY), (KEY, OTHER_KEY)),
    ("NOT_BEFORE", None, None),
    ("NOT_BEFORE", 0, 0),
    ("NOT_BEFORE", "2026-01-31T12:00:00Z", 1769860800),
    ("NOT_BEFORE", "2026-01-31T13:00:00+01:00", 1769860800),
    ("NOT_BEFORE", datetime(2026, 1, 31, 12, 0, 0, 900_000, tzinfo=UTC), 1769860800),
    (
        "NOT_BEFORE",
        datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
        1769860800,
    ),
    ("ANONYMOUS_MAX_SIZE", None, None),
    ("MAX_SESSIONS_PER_USER", None, None),
    ("MAX_SESSIONS_PER_USER", 1, 1),
    ("MAX_SESSIONS_PER_USER", 1000, 1000),
    ("AUDIT_KEY_ID", None, None),
    ("AUDIT_KEY_ID", KEY, KEY),
    ("ANONYMOUS_MAX_SIZE", 1024, 1024),
    ("ANONYMOUS_MAX_SIZE", 409_600, 409_600),
    ("CLIENT", "auto", None),
    ("CLIENT", "boto", None),
    ("CLIENT", "builtin", None),
    ("ABSOLUTE_TIMEOUT", None, None),
    ("ABSOLUTE_TIMEOUT", 1, 1),
    ("ABSOLUTE_TIMEOUT", 3650 * DAY, 3650 * DAY),
    ("GRANT_TIMEOUT", None, None),
    ("GRANT_TIMEOUT", 60, 60),
    ("GRANT_TIMEOUT", 90 * DAY, 90 * DAY),
    ("DATA_KEY_PERIOD", 0, 0),
    ("DATA_KEY_PERIOD", 7 * DAY, 7 * DAY),
    ("DATA_KEY_CACHE_AGE", 1, 1),
    ("DATA_KEY_CACHE_AGE", 3600, 3600),
    ("DATA_KEY_MAX_STALE", 300, 300),
    ("DATA_KEY_MAX_STALE", DAY, DAY),
    ("MIGRATE_FROM", "myproject.sessions", "myproject.sessions"),
]


@each_case(("name", "value", "expected"), GOOD)
def test_good_value_is_taken(name: str, value: Any, expected: Any) -> None:
    made = getattr(parse(**{name: value}), name.lower())
    assert made == (value if expected is None else expected)


BAD: list[tuple[str, Any, str]] = [
    ("KEY_ID", None, "not an alias"),
    ("KEY_ID", "", "arn:aws:kms:REGION:ACCOUNT:key/ID"),
    ("KEY_ID", "11111111-2222-3333-4444-555555555555", "ARN of a customer-managed KMS key"),
    ("KEY_ID", "alias/sessions", "not an alias"),
    ("KEY_ID", "arn:aws:kms:eu-west-1:123456789012:alias/sessions", "not an alias"),
    ("KEY_ID", KEY + "\n", "ARN"),
    ("KEY_ID", KEY.encode(), "ARN"),
    ("KEY_ID", [KEY], "ARN"),
    ("TABLE_NAME", None, "the name (3 to 255 of A-Z a-z 0-9 . _ -) or the ARN of a DynamoDB table"),
    ("TABLE_NAME", "ab", "DynamoDB table"),
    ("TABLE_NAME", "a b c", "DynamoDB table"),
    ("TABLE_NAME", "x" * 256, "DynamoDB table"),
    ("TABLE_NAME", "arn:aws:s3:::sessions", "DynamoDB table"),
    ("REGION_NAME", "", "an AWS Region, such as eu-west-1, or None"),
    ("REGION_NAME", "Europe", "an AWS Region, such as eu-west-1, or None"),
    ("REGION_NAME", 1, "an AWS Region, such as eu-west-1, or None"),
    ("NAMESPACE", "", "1 to 64 letters"),
    ("NAMESPACE", "x" * 65, "1 to 64 letters"),
    ("NAMESPACE", "a#b", "letters, digits, dots, underscores or hyphens"),
    ("NAMESPACE", "é", "letters"),
    ("NAMESPACE", None, "1 to 64 letters"),
    ("ENCRYPTION_CONTEXT", None, "dict of texts"),
    ("ENCRYPTION_CONTEXT", [("app", "shop")], "dict of texts"),
    ("ENCRYPTION_CONTEXT", {"app": 1}, "dict of texts"),
    ("ENCRYPTION_CONTEXT", {"app": ""}, "none of them empty"),
    ("ENCRYPTION_CONTEXT", {"": "shop"}, "none of them empty"),
    ("ENCRYPTION_CONTEXT", {"purpose": "x"}, "may not use the names purpose"),
    ("ENCRYPTION_CONTEXT", {"namespace": "x", "period": "0"}, "namespace, period"),
    ("DECRYPT_KEY_IDS", None, "list of KMS key ARNs"),
    ("DECRYPT_KEY_IDS", KEY, "list of KMS key ARNs"),
    ("DECRYPT_KEY_IDS", [KEY, "alias/old"], "each must be the ARN"),
    ("NOT_BEFORE", "yesterday", "2026-01-31T12:00:00Z"),
    ("NOT_BEFORE", "2026-01-31T12:00:00", "says its zone"),
    ("NOT_BEFORE", datetime(2026, 1, 31), "says its zone"),  # noqa: DTZ001 - what is refused
    ("NOT_BEFORE", -1, "epoch seconds"),
    ("NOT_BEFORE", 1769860800.5, "epoch seconds"),
    ("NOT_BEFORE", True, "epoch seconds"),
    ("NOT_BEFORE", datetime(1969, 1, 1, tzinfo=UTC), "epoch seconds"),
    ("AUDIT_KEY_ID", "alias/audit", "ARN"),
    *(("MAX_SESSIONS_PER_USER", bad, "from 1 to 1,000") for bad in (0, 1001, -1, 2.0, "3", True)),
    ("ANONYMOUS_MAX_SIZE", 0, "whole number of bytes from 1,024 to 409,600, or None"),
    ("ANONYMOUS_MAX_SIZE", 1023, "whole number of bytes"),
    ("ANONYMOUS_MAX_SIZE", 409_601, "whole number of bytes"),
    ("ANONYMOUS_MAX_SIZE", 65536.0, "whole number of bytes"),
    ("ANONYMOUS_MAX_SIZE", "64 KB", "whole number of bytes"),
    ("ANONYMOUS_MAX_SIZE", True, "whole number of bytes"),
    ("CLIENT", "wire", "'wire' is now named 'builtin'"),
    ("CLIENT", "Builtin", "'auto', 'boto' or 'builtin'"),
    ("CLIENT", None, "'auto', 'boto' or 'builtin'"),
    ("CLIENT", ["builtin"], "'auto', 'boto' or 'builtin'"),
    ("ABSOLUTE_TIMEOUT", 0, "whole number of seconds, at least 1"),
    ("ABSOLUTE_TIMEOUT", 60.0, "whole number of seconds"),
    ("ABSOLUTE_TIMEOUT", "3600", "whole number of seconds"),
    ("ABSOLUTE_TIMEOUT", timedelta(days=1), "whole number of seconds"),
    ("ABSOLUTE_TIMEOUT", True, "whole number of seconds"),
    ("ABSOLUTE_TIMEOUT", 3650 * DAY + 1, "at most 315,360,000"),
    ("GRANT_TIMEOUT", 59, "at least 60"),
    ("GRANT_TIMEOUT", 90 * DAY + 1, "at most 7,776,000"),
    ("DATA_KEY_PERIOD", -1, "at least 0"),
    ("DATA_KEY_PERIOD", 7 * DAY + 1, "at most 604,800"),
    ("DATA_KEY_PERIOD", None, "whole number of seconds"),
    ("DATA_KEY_CACHE_AGE", 0, "at least 1"),
    ("DATA_KEY_CACHE_AGE", DAY + 1, "at most 86,400"),
    ("DATA_KEY_CACHE_AGE", None, "whole number of seconds"),
    ("DATA_KEY_MAX_STALE", 0, "at least 1"),
    ("DATA_KEY_MAX_STALE", True, "whole number of seconds"),
    ("DATA_KEY_MAX_STALE", DAY + 1, "at most 86,400"),
    ("MIGRATE_FROM", None, "the module of a session engine"),
    ("MIGRATE_FROM", "my-project.sessions", "the module of a session engine"),
    ("MIGRATE_FROM", "myproject..sessions", "the module of a session engine"),
]


@each_case(("name", "value", "says"), BAD)
def test_bad_value_is_one_fault_with_a_sentence(name: str, value: Any, says: str) -> None:
    found = fault(**{name: value})
    assert found.check_id == conf.FIELDS[name].check_id
    assert found.message.startswith(f"SESSIONS_KMS[{name!r}] m")  # must, may not
    assert says in found.message
    assert found.message.endswith(".")


def test_every_setting_has_good_and_bad_values_here() -> None:
    assert {name for name, *_ in GOOD} == {name for name, *_ in BAD} == set(conf.FIELDS)


def test_stale_limit_below_the_cache_age_is_a_fault() -> None:
    found = fault(DATA_KEY_CACHE_AGE=3601)
    assert found.check_id == "E014"
    assert "DATA_KEY_MAX_STALE'] must not be below DATA_KEY_CACHE_AGE" in found.message
    assert parse(DATA_KEY_CACHE_AGE=600, DATA_KEY_MAX_STALE=600).data_key_cache_age == 600


@each_case(
    ("name", "nearest"),
    [
        ("KEY_ARN", "KEY_ID"),
        ("key_id", "KEY_ID"),
        ("TABLE", "TABLE_NAME"),
        ("REGION", "REGION_NAME"),
        ("DATA_KEY_CACHE_TTL", "DATA_KEY_CACHE_AGE"),
        ("ENCRYPTION_CONTEXTS", "ENCRYPTION_CONTEXT"),
        ("DECRYPT_KEYS", "DECRYPT_KEY_IDS"),
        ("ANONYMOUS_SIZE", "ANONYMOUS_MAX_SIZE"),
    ],
)
def test_unknown_setting_names_the_nearest_known_one(name: str, nearest: str) -> None:
    assert fault(**{name: 1}).message == (
        f"SESSIONS_KMS has no setting {name!r}. Did you mean {nearest!r}?"
    )


def test_setting_name_that_is_no_text_is_unknown() -> None:
    (found,) = conf.faults(REQUIRED | {1: 2})
    assert found.check_id == "E002"


@pytest.mark.parametrize("raw", [None, [], "sessions", 1])
def test_missing_dict_is_one_fault_with_a_remedy(raw: Any) -> None:
    (found,) = conf.faults(raw)
    assert found == ("E001", "Set SESSIONS_KMS to a dict with at least KEY_ID and TABLE_NAME.")


def test_empty_dict_names_both_required_settings() -> None:
    assert [found.check_id for found in conf.faults({})] == ["E003", "E004"]


def test_config_names_every_fault_at_once(settings: Settings) -> None:
    settings.SESSIONS_KMS = {"KEY": KEY, "NAMESPACE": ""}
    with pytest.raises(ImproperlyConfigured) as caught:
        config()
    for name in ("'KEY'", "'KEY_ID'", "'TABLE_NAME'", "'NAMESPACE'"):
        assert name in str(caught.value)


def test_missing_setting_is_improperly_configured(settings: Settings) -> None:
    settings.SESSIONS_KMS = None  # Deleting alone sends no signal, and what is cached stays.
    del settings.SESSIONS_KMS
    with pytest.raises(ImproperlyConfigured, match="Set SESSIONS_KMS to a dict"):
        services.services()


def test_config_is_deeply_frozen() -> None:
    context = {"app": "shop"}
    made = parse(ENCRYPTION_CONTEXT=context, DECRYPT_KEY_IDS=[OTHER_KEY])
    with pytest.raises(FrozenInstanceError):
        made.namespace = "other"  # type: ignore[misc]  # what is refused
    with pytest.raises(TypeError):
        made.encryption_context["app"] = "x"  # type: ignore[index]  # likewise
    context["app"] = "changed"
    assert made.encryption_context == {"app": "shop"}
    assert isinstance(made.decrypt_key_ids, tuple)


def test_any_mapping_will_do() -> None:
    class Lazy(Mapping[str, Any]):
        __getitem__ = REQUIRED.__getitem__

        def __iter__(self) -> Any:
            return iter(REQUIRED)

        def __len__(self) -> int:
            return 2

    assert list(conf.faults(Lazy())) == []
    assert conf.parse(Lazy()).table_name == "sessions"


def test_config_is_read_once_and_again_when_the_setting_changes() -> None:
    with override_settings(SESSIONS_KMS=REQUIRED):
        first = config()
        assert config() is first
        with override_settings(SESSIONS_KMS=REQUIRED | {"NAMESPACE": "other"}):
            assert config().namespace == "other"
        assert config().namespace == "django"
        with override_settings(SESSION_COOKIE_AGE=60):
            kept = config()
            assert config() is kept


def test_changed_settings_give_new_services_and_new_clients() -> None:
    with override_settings(SESSIONS_KMS=REQUIRED):
        before, client = services.services(), clients.kms_client("eu-west-1")
        assert services.services() is before
        with override_settings(SESSIONS_KMS=REQUIRED | {"DATA_KEY_PERIOD": 0}):
            assert services.services() is not before
            assert services.services().config.data_key_period == 0
            assert clients.kms_client("eu-west-1") is not client
