"""Cookie headers of people with unusual sessions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.db import connections

from oauth.tokens.vault import load_token_set, store_token_set
from sessions_kms.backend import SessionStore
from sessions_kms.session.next_cookie import KeyChange

NAME = settings.SESSION_COOKIE_NAME
FORMER_KEY = "former-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
NEWCOMER = "newcomer"  # a good session of a user who has no other


def of(kind: str, sign_in: Callable[[User], str]) -> str:
    """Return a cookie of a new session of this kind. Call this in a thread."""
    try:
        key = sign_in(_newcomer() if kind == NEWCOMER else User.objects.get(username="ada"))
        made = {
            "good": _good,
            NEWCOMER: _good,
            "ended": _end,
            "moved": _move,
            "moved-in-disguise": _move_in_disguise,
            "untold": _untold,
            "former-password": _of_former_password,
            "former-secret": _of_former_secret,
            "foreign-backend": _foreign_backend,
            "expired-token": _of_expired_token,
            "odd-token": _of_odd_token,
        }[kind](key)
    finally:
        connections.close_all()
    return made


def _newcomer() -> User:
    return User.objects.create_user(f"newcomer-{User.objects.count()}")


def _good(key: str) -> str:
    return f"{NAME}={key}"


def _end(key: str) -> str:
    SessionStore(key).delete()
    return _good(key)


def _move(key: str) -> str:
    """Of a browser that missed a key change and has the `-next` cookie for it."""
    session = SessionStore(key)
    session.cycle_key()
    change = KeyChange.between(key, str(session.session_key), "django")
    return f"{_good(key)}; {NAME}-next-{change.new_id}={change.new_key}.{change.old_id}"


def _move_in_disguise(key: str) -> str:
    """As a sibling host can set it: Django would strip the prefix of the name."""
    return _move(key).replace(f"; {NAME}-next", f"; {{nbsp}}{NAME}-next")


def _untold(key: str) -> str:
    """Of a browser that missed a key change."""
    SessionStore(key).cycle_key()
    return _good(key)


def _of_former_password(key: str) -> str:
    return _with(key, HASH_SESSION_KEY, "0" * 64)


def _of_former_secret(key: str) -> str:
    settings.SECRET_KEY_FALLBACKS = [FORMER_KEY]
    ada = User.objects.get(username="ada")
    return _with(key, HASH_SESSION_KEY, next(iter(ada.get_session_auth_fallback_hash())))


def _foreign_backend(key: str) -> str:
    return _with(key, "_auth_user_backend", "elsewhere.Backend")


def _with(key: str, name: str, value: str) -> str:
    session = SessionStore(key)
    session[name] = value
    session.save()
    return _good(key)


def _of_expired_token(key: str) -> str:
    """Of a person whose token has expired and cannot be refreshed."""
    return _with_token(key, expires_at=1)


def _of_odd_token(key: str) -> str:
    """Of a person whose provider gave a token of a type that cannot be sent."""
    return _with_token(key, token_type="mac")


def _with_token(key: str, **changes: Any) -> str:
    session = SessionStore(key)
    token = load_token_set(session, "corp")
    assert token is not None
    store_token_set(session, "corp", replace(token, **changes))
    session.save()
    return _good(key)
