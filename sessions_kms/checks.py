"""System checks of the settings: one id per fault, without using the network."""

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from http import cookies
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_kms import conf
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.lazy_module import LazyModule
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.hints import command

if TYPE_CHECKING:
    from sessions_kms import moving_in
    from sessions_kms.aws import clients, kms, remote_table
    from sessions_kms.operations import old_engines
else:  # Servers run no checks, so they need not import these.
    clients = LazyModule("sessions_kms.aws.clients")
    kms = LazyModule("sessions_kms.aws.kms")
    remote_table = LazyModule("sessions_kms.aws.remote_table")
    old_engines = LazyModule("sessions_kms.operations.old_engines")
    moving_in = LazyModule("sessions_kms.moving_in")

ENGINE = "sessions_kms.backend"
MIDDLEWARE = "sessions_kms.middleware.StoreUnavailableMiddleware"
APP = "sessions_kms"
SESSIONS_APP = "django.contrib.sessions"


def check_settings(**_: Any) -> Iterator[checks.CheckMessage]:
    """Report each fault of SESSIONS_KMS under its id."""
    for fault in conf.faults(getattr(settings, conf.SETTING, None)):
        yield checks.Error(fault.message, id=f"sessions_kms.{fault.check_id}")


def _valid_config() -> conf.Config | None:
    """Return the settings, or None if they have faults, which `check_settings` reports."""
    raw: Any = getattr(settings, conf.SETTING, None)
    return None if list(conf.faults(raw)) else conf.parse(raw)


def check_region(**_: Any) -> Iterator[checks.CheckMessage]:
    """Report that no Region is set, or warn if it is not the key's."""
    config = _valid_config()
    if config is None or uses_test_kit():
        return
    region, home = clients.find_region(config.region_name), kms.region_of(config.key_id)
    if region is None:
        yield checks.Error(
            "No AWS Region is set, so the session table cannot be found.",
            hint="Set the variable AWS_REGION, or SESSIONS_KMS['REGION_NAME'], to the table's"
            f" Region. The key's ARN has the Region {home}.",
            id="sessions_kms.E021",
        )
    elif region != home:
        yield checks.Warning(
            f"The KMS key is in {home}, and the session table in {region}: an outage of either"
            " Region stops sessions.",
            hint="Correct the Region (AWS_REGION, or SESSIONS_KMS['REGION_NAME']), or set KEY_ID"
            f" (the gateway: KMS_KEY_ARN) to a key in {region}.",
            id="sessions_kms.W012",
        )


def check_engine(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn when the app is installed and neither its engine nor one derived from it is used."""
    if not sessions_are_sealed():
        yield checks.Warning(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions are not encrypted.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessions_kms.W001",
        )


def sessions_are_sealed() -> bool:
    """Return True if the session engine is this one or derived from it."""
    return issubclass(_store(), SessionStore)


def _store() -> type:
    """Return the session class, or `object` if there is none."""
    try:
        store: type = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        return object
    return store


def check_old_engine(**_: Any) -> Iterator[checks.CheckMessage]:
    """Report an old engine from which sessions cannot be imported."""
    config = _valid_config()
    if config is not None and issubclass(_store(), moving_in.SessionStore):
        try:
            old_engines.load_engine(config.migrate_from)
        except ImproperlyConfigured as exc:
            yield checks.Error(f"SESSIONS_KMS['MIGRATE_FROM']: {exc}", id="sessions_kms.E016")


def check_middleware(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn if an outage would be a 500, and a sibling host's cookie might be accepted."""
    order: Sequence[str] = settings.MIDDLEWARE
    sessions = next((at for at, path in enumerate(order) if _makes_sessions(path)), None)
    if sessions is not None and MIDDLEWARE not in order[:sessions]:
        yield checks.Warning(
            "While the session store is unreachable, visitors get a server error. Cookies that "
            "sibling hosts set may be accepted as the site's own.",
            hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
            id="sessions_kms.W002",
        )


def _makes_sessions(path: str) -> bool:
    """Return True if a middleware is Django's session middleware or derived from it."""
    try:
        found = import_string(path)
    except ImportError:  # Django reports it.
        return False
    return isinstance(found, type) and issubclass(found, SessionMiddleware)


def check_cookie_age(**_: Any) -> Iterator[checks.CheckMessage]:
    """Report an idle timeout that is not a number or above the absolute timeout."""
    config = _valid_config()
    if config is None:
        return
    timeout = config.absolute_timeout
    age: Any = settings.SESSION_COOKIE_AGE
    if not isinstance(age, int | float):
        yield checks.Error(
            "SESSION_COOKIE_AGE must be a number of seconds.", id="sessions_kms.E017"
        )
    elif timeout is not None and age > timeout:
        yield checks.Warning(
            f"SESSION_COOKIE_AGE ({age:,} s) is above"
            f" ABSOLUTE_TIMEOUT ({timeout:,} s), which ends every session first.",
            hint="Lower SESSION_COOKIE_AGE, or raise SESSIONS_KMS['ABSOLUTE_TIMEOUT'].",
            id="sessions_kms.W003",
        )


def check_not_before(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn about a cutoff in the future: when it is near, nobody stays signed in."""
    config = _valid_config()
    moment = None if config is None else config.not_before
    if moment is not None and moment > time.time():
        yield checks.Warning(
            f"NOT_BEFORE ({moment:,} s since 1970) is in the future. It is ignored until five"
            " minutes before that time. From then until it has passed, nobody stays signed in.",
            hint="Set SESSIONS_KMS['NOT_BEFORE'] to a time in the past, in seconds.",
            id="sessions_kms.W004",
        )


def check_clearsessions(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn if Django's `clearsessions`, which does nothing here, hides ours."""
    names = [config.name for config in apps.get_app_configs()]
    if {SESSIONS_APP, APP} <= set(names) and names.index(SESSIONS_APP) < names.index(APP):
        yield checks.Warning(
            f"{command('clearsessions')} is Django's own, which does not use the table.",
            hint=f"Put {APP!r} before {SESSIONS_APP!r} in INSTALLED_APPS.",
            id="sessions_kms.W005",
        )


def check_user_sessions(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn about allauth's list of sessions."""
    if session_keys_are_in_sql():
        yield checks.Warning(
            "allauth.usersessions stores all session keys as plain text in the database. A reader"
            " of the database can impersonate everybody who is signed in.",
            hint="Remove 'allauth.usersessions' from INSTALLED_APPS, and empty its table."
            " The admin of sessions_kms lists a user's sessions and ends them.",
            id="sessions_kms.W006",
        )


def session_keys_are_in_sql() -> bool:
    """Return True if allauth's list of sessions is installed, which stores their keys."""
    return apps.is_installed("allauth.usersessions")


def check_stored_tokens(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn about allauth's own storage of provider tokens."""
    if getattr(settings, "SOCIALACCOUNT_STORE_TOKENS", False):
        yield checks.Warning(
            "SOCIALACCOUNT_STORE_TOKENS stores the tokens of providers as plain text in the"
            " database, besides the encrypted sessions.",
            hint="Remove the setting, and empty the table of SocialToken.",
            id="sessions_kms.W007",
        )


def check_serializer(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn about pickle, whose data is code."""
    if "pickle" in str(settings.SESSION_SERIALIZER).lower():
        yield checks.Warning(
            f"SESSION_SERIALIZER is {settings.SESSION_SERIALIZER!r}: anyone who can encrypt a"
            " session can run code in the site.",
            hint="Set it to 'django.contrib.sessions.serializers.JSONSerializer', and set"
            " SESSIONS_KMS['NOT_BEFORE'] to now: it cannot read pickled sessions.",
            id="sessions_kms.W008",
        )


def check_same_site(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn if requests from other sites carry the session."""
    if settings.SESSION_COOKIE_SAMESITE not in {"Lax", "Strict"}:
        yield checks.Warning(
            f"SESSION_COOKIE_SAMESITE is {settings.SESSION_COOKIE_SAMESITE!r}: requests from other"
            " sites carry the session.",
            hint="Set SESSION_COOKIE_SAMESITE = 'Lax'.",
            id="sessions_kms.W009",
        )


def check_python(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn about a Python in which decoding a cookie takes time quadratic in its length."""
    if python_is_slow():
        yield checks.Warning(
            f"Python {platform.python_version()} takes minutes to decode a long cookie"
            " (CVE-2024-7592). StoreUnavailableMiddleware decodes cookies differently. Code that"
            " reads them before it, or without it, lets anybody keep a process busy.",
            hint="Use Python 3.11.10, 3.12.6, 3.13.0 or a later release of these.",
            id="sessions_kms.W010",
        )


def python_is_slow() -> bool:
    """Return True if `http.cookies` has the code that the fix of CVE-2024-7592 replaced.

    A version number would not do: distributions have fixed their 3.11.2, for example.
    https://github.com/python/cpython/pull/123075
    """
    return hasattr(cookies, "_OctalPatt")


def uses_test_kit() -> bool:
    """Return True if the engine keeps sessions in memory: `sessions_kms.testing`, or derived."""
    return hasattr(_store(), "build_services")


def check_test_kit(**_: Any) -> Iterator[checks.CheckMessage]:
    """Report the test kit's engine outside of tests: each process would have its own sessions."""
    if uses_test_kit() and not settings.DEBUG and not remote_table.is_running_tests():
        yield checks.Error(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which is for tests: it keeps sessions"
            " in the memory of one process.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessions_kms.E022",
        )


def check_remote_table(**_: Any) -> Iterator[checks.CheckMessage]:
    """Warn if tests would store their sessions in a table that is not on this machine.

    With moto imported, only the engine can tell whether it answers when a session is stored.
    """
    config = _valid_config()
    is_suspect = remote_table.is_running_tests() and "moto" not in sys.modules
    if config is None or not is_suspect or uses_test_kit() or not sessions_are_sealed():
        return
    try:
        endpoint = clients.dynamodb_endpoint(config.region_name)
    except TableUnavailable:
        return
    if not remote_table.is_loopback(endpoint):
        message = remote_table.describe(endpoint, config.table_name)
        yield checks.Warning(message, id="sessions_kms.W011")


def register() -> None:
    """Register the checks with Django."""
    for check in CHECKS:
        checks.register(check, checks.Tags.security)


CHECKS = (
    check_settings,
    check_region,
    check_engine,
    check_old_engine,
    check_middleware,
    check_cookie_age,
    check_not_before,
    check_clearsessions,
    check_user_sessions,
    check_stored_tokens,
    check_serializer,
    check_same_site,
    check_python,
    check_test_kit,
    check_remote_table,
)
