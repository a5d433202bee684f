"""The token set of one account at one provider.

A token response (RFC 6749 section 5.1) enters, a dict for the session leaves and
comes back. Knows nothing of Django, allauth or where the session is kept.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NoReturn, cast

VERSION = 1
MAX_TOKEN_LENGTH = 32 * 1024  # several tokens must fit in one session of 400 KB
MAX_LIFETIME = 10 * 365 * 24 * 3600  # seconds; a longer one is as good, and fits every calendar
NOTHING = (None, "")  # what a field may hold for being left out
SECRETS = frozenset({"access_token", "refresh_token", "id_token", "grant_secret", "dpop_key"})
LISTS = ("scope", "requested_scope", "groups")
GRANT_SECRET = re.compile(r"[a-z0-9]{32}")
DPOP_KEY = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes, as `oauth.provider.dpop` makes them


class MalformedTokens(ValueError):
    """This is no token response, or no token set; the message is a fixed sentence."""


def new_grant_secret() -> str:
    """Return a random name for the refresh of one token set, as a lease has it."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(32))


@dataclass(frozen=True, kw_only=True, repr=False)
class TokenSet:
    """Tokens, and what the provider said of them. Times are epoch seconds.

    ``subject`` is the account's identifier at the provider and ``client_id`` the
    client the tokens were issued to. ``expires_at`` is None where the provider
    names no end. ``requested_scope`` is what was asked for at the consent, ``scope``
    what was granted last. ``grant_secret`` belongs to one generation of the set:
    whoever refreshes it, from whichever copy, meets the others under this name.
    ``granted_at`` is when the person consented; refreshes keep it. ``dpop_key`` is the private
    key that the tokens are bound to, if they are (`oauth.provider.dpop`): each sign-in makes one.
    ``groups`` are those of the person at the provider that anything here asks for, as it told
    last.
    """

    access_token: str
    token_type: str
    scope: tuple[str, ...]
    subject: str
    client_id: str
    refresh_token: str | None = None
    id_token: str | None = None
    expires_at: int | None = None
    refresh_expires_at: int | None = None
    issued_at: int | None = None
    granted_at: int = 0
    requested_scope: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    grant_secret: str = field(default_factory=new_grant_secret)
    dpop_key: str | None = None

    def __repr__(self) -> str:
        """Show which tokens are there, never a token."""
        shown = (f"{each.name}={self._shown(each.name)}" for each in fields(self))
        return f"TokenSet({', '.join(shown)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name in SECRETS:
            return "<none>" if value is None else "<set>"
        return repr(value)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, which caches, task queues and crash reports would do."""
        raise TypeError("A TokenSet cannot be pickled: keep it in the session.")

    @classmethod
    def from_response(
        cls,
        response: Mapping[str, Any],
        *,
        subject: str,
        client_id: str,
        requested_scope: tuple[str, ...],
        now: int,
        dpop_key: str | None = None,
    ) -> TokenSet:
        """Read a token response. Raises MalformedTokens when it is not one.

        A response without ``scope`` grants what was requested (RFC 6749 section 5.1).
        """
        return cls(
            access_token=_token(response.get("access_token")),
            token_type=_token_type(response.get("token_type")),
            scope=_granted(response.get("scope"), requested_scope),
            subject=subject,
            client_id=client_id,
            refresh_token=_optional_token(response.get("refresh_token")),
            id_token=_optional_token(response.get("id_token")),
            expires_at=_end(response.get("expires_in"), now),
            refresh_expires_at=_end(_refresh_lifetime(response), now),
            issued_at=now,
            granted_at=now,
            requested_scope=requested_scope,
            dpop_key=dpop_key,
        )

    def refreshed(
        self, response: Mapping[str, Any], *, now: int, dpop_key: str | None = None
    ) -> TokenSet:
        """Return the set that follows this one. Raises MalformedTokens when it is no response.

        A response without scope leaves it unchanged, and one without refresh token
        lets the old one stand (RFC 6749 section 6). ``dpop_key`` is what it was asked for with.
        """
        new = TokenSet.from_response(
            response,
            subject=self.subject,
            client_id=self.client_id,
            requested_scope=self.scope,
            now=now,
            dpop_key=dpop_key,
        )
        new = replace(
            new,
            id_token=new.id_token or self.id_token,
            requested_scope=self.requested_scope,
            granted_at=self.granted_at,
            groups=self.groups,
        )
        if new.refresh_token is not None:
            return new
        return replace(
            new,
            refresh_token=self.refresh_token,
            refresh_expires_at=new.refresh_expires_at or self.refresh_expires_at,
        )

    def keeping_refresh_token(self, previous: TokenSet | None) -> TokenSet:
        """Return this set, with the previous refresh token where it has none of its own.

        Some providers name a refresh token at the first consent only. The old one
        is kept for the same account and client, and never when it could fetch more
        than was granted this time. With it goes the grant secret: a refresh token must
        not be spent under two names. And the time of its grant: whoever ends the grants
        of that time means it. One that may be bound to another key than this set is of no use.
        """
        if (
            previous is None
            or previous.refresh_token is None
            or self.refresh_token is not None
            or (self.subject, self.client_id) != (previous.subject, previous.client_id)
            or self.dpop_key != previous.dpop_key
            or not set(previous.scope) <= set(self.scope)
        ):
            return self
        return replace(
            self,
            refresh_token=previous.refresh_token,
            refresh_expires_at=previous.refresh_expires_at,
            grant_secret=previous.grant_secret,
            granted_at=previous.granted_at,
        )

    def to_session(self) -> dict[str, Any]:
        """Return what is kept in the session: JSON types, and a version."""
        lists = {name: list(getattr(self, name)) for name in LISTS}
        return {"version": VERSION, **asdict(self), **lists}

    @classmethod
    def from_session(cls, data: object) -> TokenSet:
        """Read what `to_session` returned; unknown fields are ignored.

        Raises MalformedTokens when it is something else.
        """
        if not isinstance(data, Mapping) or data.get("version") != VERSION:
            raise MalformedTokens("This is not a token set of version 1.")
        return cls(
            access_token=_token(data.get("access_token")),
            token_type=_text(data.get("token_type")),
            scope=_texts(data.get("scope")),
            subject=_text(data.get("subject")),
            client_id=_text(data.get("client_id")),
            refresh_token=_optional_token(data.get("refresh_token")),
            id_token=_optional_token(data.get("id_token")),
            expires_at=_optional_time(data.get("expires_at")),
            refresh_expires_at=_optional_time(data.get("refresh_expires_at")),
            issued_at=_optional_time(data.get("issued_at")),
            granted_at=_optional_time(data.get("granted_at")) or 0,
            requested_scope=_texts(data.get("requested_scope")),
            groups=_texts(data.get("groups", [])),  # An older release knew none.
            grant_secret=_grant_secret(data.get("grant_secret")),
            dpop_key=_optional_key(data.get("dpop_key")),
        )


def split_scope(scope: str) -> tuple[str, ...]:
    """Split a scope at blanks (RFC 6749 section 3.3) or at commas, as GitHub writes it."""
    return tuple(dict.fromkeys(re.split(r"[\s,]+", scope.strip()))) if scope.strip() else ()


def _granted(scope: object, requested: tuple[str, ...]) -> tuple[str, ...]:
    """Read the scope of a response. Some write a list; without one it is what was requested."""
    if scope is None:
        return requested
    if isinstance(scope, list):
        scope = " ".join(_shown_text(each) for each in scope)
    return split_scope(_shown_text(scope))


def _token_type(value: object) -> str:
    """Read the type, in whatever case (RFC 6749 section 5.1); without one it is Bearer."""
    return "Bearer" if value in NOTHING else _shown_text(value)


def _token(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        raise MalformedTokens("A token is missing, too long or not text.")
    return value


def _optional_token(value: object) -> str | None:
    return None if value in NOTHING else _token(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN_LENGTH:
        raise MalformedTokens("A field of the token set is missing, too long or not text.")
    return value


def _shown_text(value: object) -> str:
    """Return a text that a page can show; halves of UTF-16 characters would break it."""
    text = _text(value)
    if not text.isprintable():
        raise MalformedTokens("A field of the token response has characters that are no text.")
    return text


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not list:
        raise MalformedTokens("The token set has no scope.")
    return tuple([_text(item) for item in value])


def _grant_secret(value: object) -> str:
    if not isinstance(value, str) or not GRANT_SECRET.fullmatch(value):
        raise MalformedTokens("The token set has no grant secret.")
    return value


def _optional_key(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not DPOP_KEY.fullmatch(value)):
        raise MalformedTokens("The token set's key cannot be used.")
    return value


def _optional_time(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise MalformedTokens("A time of the token set is not a whole number.")
    return value


def _refresh_lifetime(response: Mapping[str, Any]) -> object:
    """Return the lifetime of the refresh token, which Google names otherwise than Keycloak does.

    Keycloak says 0 of one without an end (https://github.com/keycloak/keycloak/issues/48063).
    """
    named = (response.get(name) for name in ("refresh_expires_in", "refresh_token_expires_in"))
    return next((each for each in named if each not in (*NOTHING, 0, "0")), None)


def _end(lifetime: object, now: int) -> int | None:
    """Return the end of a lifetime in seconds; form-encoded answers give it as text."""
    if lifetime in NOTHING:
        return None
    try:
        seconds = int(float(_number(lifetime)))
    except (OverflowError, ValueError):
        raise MalformedTokens("A lifetime of the token response is not a number.") from None
    return now + min(max(seconds, 0), MAX_LIFETIME)


def _number(value: object) -> float | str:
    if type(value) in {int, float, str}:
        return cast("float | str", value)
    raise ValueError("This is not a number.")
