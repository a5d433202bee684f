"""System checks: what is wrong with the settings, one id a fault, without any network."""

import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from sessions_kms import conf

ENGINE = "sessions_kms.backend"
MIDDLEWARE = "sessions_kms.middleware.StoreUnavailableMiddleware"
SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Report each fault of SESSIONS_KMS under its id."""
    return [
        checks.Error(fault.message, id=f"sessions_kms.{fault.check_id}")
        for fault in conf.faults(getattr(settings, conf.SETTING, None))
    ]


def check_engine(**_: Any) -> list[checks.CheckMessage]:
    """Warn when the app is installed and its engine is not used."""
    if settings.SESSION_ENGINE == ENGINE:
        return []
    return [
        checks.Warning(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}: sessions are not sealed.",
            hint=f"Set SESSION_ENGINE = {ENGINE!r}.",
            id="sessions_kms.W001",
        )
    ]


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """Warn when an outage of the store would be a 500 instead of a 503."""
    order: Sequence[str] = settings.MIDDLEWARE
    if SESSION_MIDDLEWARE not in order:
        return []
    if MIDDLEWARE in order[: order.index(SESSION_MIDDLEWARE)]:
        return []
    return [
        checks.Warning(
            "While the session store cannot be reached, visitors get a server error.",
            hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
            id="sessions_kms.W002",
        )
    ]


def check_cookie_age(**_: Any) -> list[checks.CheckMessage]:
    """Warn about an idle timeout that the absolute one never lets happen."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if list(conf.faults(raw)):
        return []
    timeout = conf.parse(raw).absolute_timeout
    age: Any = settings.SESSION_COOKIE_AGE
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
    """Warn about a moment that is still to come: until then nobody can stay signed in."""
    raw: Any = getattr(settings, conf.SETTING, None)
    if list(conf.faults(raw)):
        return []
    moment = conf.parse(raw).not_before
    if moment is None or moment <= time.time():
        return []
    return [
        checks.Warning(
            f"NOT_BEFORE ({moment:,} s since 1970) is in the future: no session is valid before.",
            hint="Set SESSIONS_KMS['NOT_BEFORE'] to a moment that has passed, in seconds.",
            id="sessions_kms.W004",
        )
    ]


def register() -> None:
    """Register the checks with Django."""
    for check in CHECKS:
        checks.register(check, checks.Tags.security)


CHECKS = (check_settings, check_engine, check_middleware, check_cookie_age, check_not_before)
