"""System checks: what is wrong with the settings, one id a fault, without any network."""

import platform
import time
from collections.abc import Sequence
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

if TYPE_CHECKING:
    from sessions_kms import moving_in
    from sessions_kms.aws import clients
    from sessions_kms.operations import session_import
else:  # Servers run no checks: these come with those who do.
    clients = LazyModule("sessions_kms.aws.clients")
    session_import = LazyModule("sessions_kms.operations.session_import")
    moving_in = LazyModule("sessions_kms.moving_in")

ENGINE = "sessions_kms.backend"
MIDDLEWARE = "sessions_kms.middleware.StoreUnavailableMiddleware"
APP = "sessions_kms"
SESSIONS_APP = "django.contrib.sessions"


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Report each fault of SESSIONS_KMS under its id."""
    return [
        checks.Error(fault.message, id=f"sessions_kms.{fault.check_id}")
        for fault in conf.faults(getattr(settings, conf.SETTING, None))
    ]


def check_region(**_: Any) -> list[checks.CheckMessage]:
    """Report that no Region is set: the table cannot be asked."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if list(conf.faults(raw)) or clients.has_region(conf.parse(raw).region_name):
        return []
    return [
        checks.Error(
            "No AWS Region is set, so the session table cannot be found.",
            hint="Set the variable AWS_REGION, or SESSIONS_KMS['REGION_NAME'].",
            id="sessions_kms.E021",
        )
    ]


def check_engine(**_: Any) -> list[checks.CheckMessage]:
    """Warn when the app is installed and neither its engine nor one derived from it is used."""
    if sessions_are_sealed():
        return []
    return [
        checks.Warning(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions are not sealed.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessions_kms.W001",
        )
    ]


def sessions_are_sealed() -> bool:
    """Tell whether the sessions' engine is ours, or one derived from it."""
    return issubclass(_store(), SessionStore)


def _store() -> type:
    """Return the class of the sessions, or any other where there is none."""
    try:
        store: type = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        return object
    return store


def check_old_engine(**_: Any) -> list[checks.CheckMessage]:
    """Report an engine that nothing can be taken over from, while sessions are to be."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if not issubclass(_store(), moving_in.SessionStore) or list(conf.faults(raw)):
        return []
    try:
        session_import.OldEngine(conf.parse(raw).migrate_from)
    except ImproperlyConfigured as exc:
        return [checks.Error(f"SESSIONS_KMS['MIGRATE_FROM']: {exc}", id="sessions_kms.E016")]
    return []


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Warn when an outage would be a 500, and a sibling host's cookie might be the session's."""
    order: Sequence[str] = settings.MIDDLEWARE
    sessions = next((at for at, path in enumerate(order) if _makes_sessions(path)), None)
    if sessions is None or MIDDLEWARE in order[:sessions]:
        return []
    return [
        checks.Warning(
            "While the session store cannot be reached, visitors get a server error. And cookies "
            "that sibling hosts set may pass for the site's own.",
            hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
            id="sessions_kms.W002",
        )
    ]


def _makes_sessions(path: str) -> bool:
    """Tell whether a middleware is Django's for sessions, or one of its kind."""
    try:
        found = import_string(path)
    except ImportError:  # Django tells of it.
        return False
    return isinstance(found, type) and issubclass(found, SessionMiddleware)


def check_cookie_age(**_: Any) -> list[checks.CheckMessage]:
    """Report an idle timeout that is no number, or that the absolute one never lets happen."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if list(conf.faults(raw)):
        return []
    timeout = conf.parse(raw).absolute_timeout
    age: Any = settings.SESSION_COOKIE_AGE
    if not isinstance(age, int | float):
        return [
            checks.Error("SESSION_COOKIE_AGE must be a number of seconds.", id="sessions_kms.E017")
        ]
    if timeout is None or age <= timeout:
        return []
    return [
        checks.Warning(
            f"SESSION_COOKIE_AGE ({age:,} s) is above"
            f" ABSOLUTE_TIMEOUT ({timeout:,} s), which ends every session first.",
            hint="Lower SESSION_COOKIE_AGE, or raise SESSIONS_KMS['ABSOLUTE_TIMEOUT'].",
            id="sessions_kms.W003",
        )
    ]


def check_not_before(**_: Any) -> list[checks.CheckMessage]:
    """Warn about a moment that is still to come: as it draws near nobody stays signed in."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if list(conf.faults(raw)):
        return []
    moment = conf.parse(raw).not_before
    if moment is None or moment <= time.time():
        return []
    return [
        checks.Warning(
            f"NOT_BEFORE ({moment:,} s since 1970) is in the future. It is ignored until five"
            " minutes before. From then until it has passed, nobody stays signed in.",
            hint="Set SESSIONS_KMS['NOT_BEFORE'] to a moment that has passed, in seconds.",
            id="sessions_kms.W004",
        )
    ]


def check_clearsessions(**_: Any) -> list[checks.CheckMessage]:
    """Warn when Django's `clearsessions`, which does nothing here, hides ours."""
    names = [config.name for config in apps.get_app_configs()]
    if not {SESSIONS_APP, APP} <= set(names) or names.index(APP) < names.index(SESSIONS_APP):
        return []
    return [
        checks.Warning(
            "manage.py clearsessions is Django's own, which does not look at the table.",
            hint=f"Put {APP!r} before {SESSIONS_APP!r} in INSTALLED_APPS.",
            id="sessions_kms.W005",
        )
    ]


def check_user_sessions(**_: Any) -> list[checks.CheckMessage]:
    """Warn about allauth's list of sessions."""
    if not session_keys_are_in_sql():
        return []
    return [
        checks.Warning(
            "allauth.usersessions keeps the session key of everybody as plain text in the"
            " database. A reader of it can be anybody who is signed in.",
            hint="Remove 'allauth.usersessions' from INSTALLED_APPS, and empty its table."
            " The admin of sessions_kms lists a person's sessions and ends them.",
            id="sessions_kms.W006",
        )
    ]


def session_keys_are_in_sql() -> bool:
    """Tell whether allauth's list of sessions is installed, which keeps their keys in the clear."""
    return apps.is_installed("allauth.usersessions")


def check_stored_tokens(**_: Any) -> list[checks.CheckMessage]:
    """Warn about allauth's own storage of provider tokens."""
    if not getattr(settings, "SOCIALACCOUNT_STORE_TOKENS", False):
        return []
    return [
        checks.Warning(
            "SOCIALACCOUNT_STORE_TOKENS keeps the tokens of providers as plain text in the"
            " database, beside the sealed sessions.",
            hint="Remove the setting, and empty the table of SocialToken.",
            id="sessions_kms.W007",
        )
    ]


def check_serializer(**_: Any) -> list[checks.CheckMessage]:
    """Warn about pickle, whose data is code."""
    if "pickle" not in str(settings.SESSION_SERIALIZER).lower():
        return []
    return [
        checks.Warning(
            f"SESSION_SERIALIZER is {settings.SESSION_SERIALIZER!r}: anybody who can seal a"
            " session can run code in the site.",
            hint="Set it to 'django.contrib.sessions.serializers.JSONSerializer', and set"
            " SESSIONS_KMS['NOT_BEFORE'] to now: pickled sessions cannot be read by it.",
            id="sessions_kms.W008",
        )
    ]


def check_same_site(**_: Any) -> list[checks.CheckMessage]:
    """Warn when other sites' requests carry the session."""
    if settings.SESSION_COOKIE_SAMESITE in {"Lax", "Strict"}:
        return []
    return [
        checks.Warning(
            f"SESSION_COOKIE_SAMESITE is {settings.SESSION_COOKIE_SAMESITE!r}: requests that other"
            " sites make carry the session.",
            hint="Set SESSION_COOKIE_SAMESITE = 'Lax'.",
            id="sessions_kms.W009",
        )
    ]


def check_python(**_: Any) -> list[checks.CheckMessage]:
    """Warn about a Python in which decoding a cookie takes time quadratic in its length."""
    if not python_is_slow():
        return []
    return [
        checks.Warning(
            f"Python {platform.python_version()} takes minutes to decode a long cookie"
            " (CVE-2024-7592). StoreUnavailableMiddleware decodes cookies in another way. What"
            " reads them before it, or without it, lets anybody keep a process busy.",
            hint="Use Python 3.11.10, 3.12.6, 3.13.0 or a later release of these.",
            id="sessions_kms.W010",
        )
    ]


def python_is_slow() -> bool:
    """Return True if `http.cookies` has the code that was replaced to fix CVE-2024-7592.

    A version number would not do: distributions have fixed their 3.11.2, for example.
    https://github.com/python/cpython/pull/123075
    """
    return hasattr(cookies, "_OctalPatt")


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
)
