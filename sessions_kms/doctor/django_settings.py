"""The system checks that speak of sessions, ours and Django's own, as findings."""

from collections.abc import Iterator

from django.conf import settings
from django.core import checks

from sessions_kms.doctor.finding import Finding, Level, ok

OURS = "sessions_kms."
# Django's own checks that the cookie is Secure and HttpOnly, which have no hint.
# https://docs.djangoproject.com/en/stable/ref/checks/#security
DJANGOS = {
    f"security.W0{number}": f"Set {setting} = True."
    for setting, numbers in (
        ("SESSION_COOKIE_SECURE", (10, 11, 12)),
        ("SESSION_COOKIE_HTTPONLY", (13, 14, 15)),
    )
    for number in numbers
}


def settings_findings() -> Iterator[Finding]:
    """Run the checks, those of a deployment too unless DEBUG is on; each is named by its id."""
    messages = checks.run_checks(
        tags=[checks.Tags.security], include_deployment_checks=not settings.DEBUG
    )
    found = [_finding(message) for message in messages if _concerns_sessions(message)]
    yield from found or [ok("settings", "no system check warns")]
    yield ok("settings saving", _saving())


def _concerns_sessions(message: checks.CheckMessage) -> bool:
    check_id = message.id or ""
    return (check_id.startswith(OURS) or check_id in DJANGOS) and not message.is_silenced()


def _finding(message: checks.CheckMessage) -> Finding:
    check_id = message.id or ""
    level = Level.FAILING if message.is_serious() else Level.WARNING
    # Errors say what to do in the message itself, as ImproperlyConfigured shows nothing else.
    remedy = message.hint or DJANGOS.get(check_id, "Correct SESSIONS_KMS in the settings.")
    return Finding(check_id, level, message.msg, remedy)


def _saving() -> str:
    if settings.SESSION_SAVE_EVERY_REQUEST:
        return "at every request, written only when its end moves by over a tenth of its idle age"
    return "when a session was changed (SESSION_SAVE_EVERY_REQUEST is off)"
