"""The settings dict `SESSIONS_KMS`, read on first use and validated into a frozen `Config`.

Each setting has one parser, which returns the value or raises an error with the fault and the
remedy; checks.py turns the same faults into system checks.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from sessions_kms.format.attributes import ITEM_MAX_BYTES

SETTING = "SESSIONS_KMS"
DAY = 24 * 3600
GRANT_MAX = 90 * DAY
LIMIT_MAX = 1000  # sessions of a user
SIZE_MIN = 1024  # bytes; the start of a sign-in needs about that much
RESERVED_CONTEXT = ("purpose", "namespace", "period")

_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")
_TABLE = re.compile(r"(arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/)?[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The validated settings. Durations are in seconds; `not_before` is in epoch seconds."""

    key_id: str
    table_name: str
    region_name: str | None = None
    namespace: str = "django"
    encryption_context: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    decrypt_key_ids: tuple[str, ...] = ()
    not_before: int | None = None
    absolute_timeout: int | None = 7 * DAY
    grant_timeout: int | None = None  # None: the absolute timeout
    data_key_period: int = DAY
    data_key_cache_age: int = 300
    data_key_max_stale: int = 3600
    migrate_from: str = "django.contrib.sessions.backends.db"
    anonymous_max_size: int | None = None  # bytes
    max_sessions_per_user: int | None = None
    audit_key_id: str | None = None  # the ARN of an HMAC key
    client: Literal["auto", "boto", "builtin"] = "auto"

    @property
    def grant_age(self) -> int:
        """The absolute timeout of grants, which are sessions opened by tokens."""
        return min(self.grant_timeout or self.absolute_timeout or GRANT_MAX, GRANT_MAX)

    @property
    def period_length(self) -> int:
        """The length of a key period; a day if each write has its own data key."""
        return self.data_key_period or DAY

    @property
    def longest_age(self) -> int | None:
        """The longer of both absolute timeouts; None for no limit."""
        timeout = self.absolute_timeout
        return None if timeout is None else max(timeout, self.grant_age)


class Fault(NamedTuple):
    """One error in the settings."""

    check_id: str
    message: str


@cache
def config() -> Config:
    """Return the current settings. Raises ImproperlyConfigured with all faults."""
    raw: Any = getattr(settings, SETTING, None)
    if found := list(faults(raw)):
        raise ImproperlyConfigured(" ".join(fault.message for fault in found))
    return parse(raw)


def parse(raw: Mapping[str, Any]) -> Config:
    """Return the Config of a settings dict that has no faults."""
    return Config(**{name.lower(): FIELDS[name].parse(value) for name, value in raw.items()})


def faults(raw: object) -> Iterator[Fault]:
    """Yield the faults of a settings dict."""
    if not isinstance(raw, Mapping):
        yield Fault("E001", f"Set {SETTING} to a dict with at least KEY_ID and TABLE_NAME.")
        return
    for name in raw:
        if name not in FIELDS:
            yield Fault("E002", f"{SETTING} has no setting {name!r}.{_nearest(name)}")
    for name, setting in FIELDS.items():
        if name in raw or setting.required:
            try:
                setting.parse(raw.get(name))
            except (TypeError, ValueError) as exc:
                yield Fault(setting.check_id, f"{SETTING}[{name!r}] {exc}")
    yield from _stale_faults(raw)


def _stale_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        age = _cache_age(raw.get("DATA_KEY_CACHE_AGE", Config.data_key_cache_age))
        stale = _cache_age(raw.get("DATA_KEY_MAX_STALE", Config.data_key_max_stale))
    except ValueError:
        return  # Reported already.
    if stale < age:
        yield Fault(
            "E014", f"{SETTING}['DATA_KEY_MAX_STALE'] must not be below DATA_KEY_CACHE_AGE."
        )


def _nearest(name: object) -> str:
    near = difflib.get_close_matches(str(name).upper(), FIELDS, n=1, cutoff=0)
    return f" Did you mean {near[0]!r}?"


def _matching(pattern: re.Pattern[str], must: str) -> Callable[[Any], str]:
    def parse_text(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"must be {must}.")
        return value

    return parse_text


_key_arn = _matching(
    _KEY_ARN,
    "the ARN of a customer-managed KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID), not an alias",
)


def _optional(parse_value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else parse_value(value)


def _key_arns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("must be a list of KMS key ARNs.")
    try:
        return tuple(dict.fromkeys(_key_arn(arn) for arn in value))
    except ValueError as exc:
        raise ValueError(f"must be a list of KMS key ARNs; each {exc}") from None


def _context(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) and text for pair in value.items() for text in pair
    ):
        raise TypeError("must be a dict of texts, none of them empty.")
    if reserved := [name for name in RESERVED_CONTEXT if name in value]:
        raise ValueError(f"may not use the names {', '.join(reserved)}: they are ours.")
    return MappingProxyType(dict(value))


def parse_moment(value: Any) -> int:
    """Return a time in epoch seconds. Raises ValueError for a time without a zone."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = _aware_timestamp(value)
        return _seconds(0)(value)
    except ValueError:
        raise ValueError(
            "must be a time that says its zone, for example 2026-01-31T12:00:00Z, or epoch seconds."
        ) from None


def _aware_timestamp(value: datetime) -> int:
    if value.tzinfo is None:
        raise ValueError
    return int(value.timestamp())


def _seconds(at_least: int, at_most: int | None = None) -> Callable[[Any], int]:
    def parse_seconds(value: Any) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < at_least or (at_most is not None and value > at_most):
            limit = "" if at_most is None else f" and at most {at_most:,}"
            raise ValueError(f"must be a whole number of seconds, at least {at_least:,}{limit}.")
        return int(value)

    return parse_seconds


_cache_age = _seconds(1, DAY)


def _size(value: Any) -> int:
    """Return a number of bytes, at most the maximum size of a DynamoDB item."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not SIZE_MIN <= value <= ITEM_MAX_BYTES:
        raise ValueError(
            f"must be a whole number of bytes from {SIZE_MIN:,} to {ITEM_MAX_BYTES:,}, or None."
        )
    return int(value)


def _session_limit(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= LIMIT_MAX:
        raise ValueError(f"must be a whole number from 1 to {LIMIT_MAX:,}, or None.")
    return int(value)


def _client(value: Any) -> str:
    if value == "wire":
        raise ValueError("must be 'auto', 'boto' or 'builtin': 'wire' is now named 'builtin'.")
    if value not in ("auto", "boto", "builtin"):
        raise ValueError("must be 'auto', 'boto' or 'builtin'.")
    return str(value)


class Setting(NamedTuple):
    """The check id and the parser of one key of the dict."""

    check_id: str
    parse: Callable[[Any], Any]
    required: bool = False


FIELDS: Mapping[str, Setting] = {
    "KEY_ID": Setting("E003", _key_arn, required=True),
    "TABLE_NAME": Setting(
        "E004",
        _matching(
            _TABLE, "the name (3 to 255 of A-Z a-z 0-9 . _ -) or the ARN of a DynamoDB table"
        ),
        required=True,
    ),
    "REGION_NAME": Setting(
        "E005", _optional(_matching(_REGION, "an AWS Region, such as eu-west-1, or None"))
    ),
    "NAMESPACE": Setting(
        "E006", _matching(_NAMESPACE, "1 to 64 letters, digits, dots, underscores or hyphens")
    ),
    "ENCRYPTION_CONTEXT": Setting("E007", _context),
    "DECRYPT_KEY_IDS": Setting("E008", _key_arns),
    "NOT_BEFORE": Setting("E009", _optional(parse_moment)),
    # Limited so that the end of a session is a valid date; None means no limit.
    "ABSOLUTE_TIMEOUT": Setting("E010", _optional(_seconds(1, 3650 * DAY))),
    "GRANT_TIMEOUT": Setting("E020", _optional(_seconds(60, GRANT_MAX))),
    # Longer periods, or keys that serve longer, would break the record's rule that
    # a data key seals for at most 8 days (record.DATA_KEY_USE).
    "DATA_KEY_PERIOD": Setting("E011", _seconds(0, 7 * DAY)),
    "DATA_KEY_CACHE_AGE": Setting("E012", _cache_age),
    "DATA_KEY_MAX_STALE": Setting("E013", _cache_age),
    "CLIENT": Setting("E019", _client),
    "ANONYMOUS_MAX_SIZE": Setting("E018", _optional(_size)),
    "MAX_SESSIONS_PER_USER": Setting("E024", _optional(_session_limit)),
    "AUDIT_KEY_ID": Setting("E023", _optional(_key_arn)),
    "MIGRATE_FROM": Setting(
        "E015", _matching(_MODULE, "the module of a session engine, such as myproject.sessions")
    ),
}


def _forget(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="sessions_kms.conf")
