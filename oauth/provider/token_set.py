"""The token set of one account at one provider.

Parses token responses (RFC 6749 section 5.1) and converts token sets to and from the JSON that the
session stores. Does not depend on Django or allauth.
"""

import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NoReturn, cast

from oauth.provider.granted_scope import parse_scope

VERSION = 1
MAX_TOKEN_LENGTH = 32 * 1024
# Several token sets must fit into one session of 400 KB. A provider may send the names of all of
# a person's groups in two tokens.
SIZE_MAX = 64 * 1024  # bytes
CONNECTION_SIZE_MAX = 32 * 1024  # bytes of a connected MCP server's token set
TOKEN = re.compile(r"[!-~]+")  # RFC 6749 appendix A.12, without the space: it is sent in a header
MAX_LIFETIME = 10 * 365 * 24 * 3600  # seconds; longer lifetimes are cut, as dates could overflow
NOTHING = (None, "")  # values that mean that a field was left out
SECRETS = frozenset({"access_token", "refresh_token", "id_token", "grant_secret", "dpop_key"})
LISTS = ("scope", "requested_scope", "groups")
# What is said about the person, and is not shown.
PERSONAL = frozenset({"email", "name"})
# Left out of the stored form if they are not known.
OPTIONAL = ("issuer", "resource", "account", "email", "name", "asserted_by", "asserted_subject")
GRANT_SECRET = re.compile(r"[a-z0-9]{32}")
DPOP_KEY = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes, as `oauth.provider.dpop` makes them


class MalformedTokens(ValueError):
    """The data is not a token response or token set; the message is a fixed sentence."""


class TokensTooLarge(MalformedTokens):
    """A new token set is larger than those that are stored."""

    def __init__(self) -> None:
        super().__init__("The tokens are too large to be stored.")


def new_grant_secret() -> str:
    """Return a random name for the lease of one token set's refresh."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(32))


@dataclass(frozen=True, kw_only=True, repr=False)
class TokenSet:
    """Tokens and their attributes. Times are epoch seconds.

    ``subject`` is the account's identifier at the provider, and ``client_id`` the client to which
    the tokens were issued. ``expires_at`` is None if the provider gives no lifetime.
    ``requested_scope`` was requested at the consent; ``scope`` was granted by the last response.
    ``grant_secret`` names the lease of this token set's refresh, so that all copies of the set
    share one refresh; every refresh makes a new one. ``granted_at`` is the time of the consent,
    which refreshes keep. ``dpop_key`` is the private key to which the tokens are bound, if any
    (`oauth.provider.dpop`); each sign-in makes a new one. ``groups`` are the person's groups in the
    provider's last response, limited to those that the settings mention. ``resource`` is what the
    tokens were requested for (RFC 8707). ``email``, an address that counts for the sign-in, and
    ``name`` are those of the consent; they are stored only if the gateway's own tokens name them.

    A token set of an MCP server (`oauth.connect`) also has ``issuer``, the only authorization
    server that may get its refresh token, and ``account``, a name that the server gave and nobody
    verified. Its ``resource`` is the only one that may get its access token, and its ``subject``
    the id of the user here who connected it. If nobody connected it, ``asserted_by`` is the
    provider that vouched for the user, and ``asserted_subject`` their account there.
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
    issuer: str | None = None
    resource: str | None = None
    account: str | None = None
    email: str | None = None
    name: str | None = None
    asserted_by: str | None = None
    asserted_subject: str | None = None

    def __repr__(self) -> str:
        """Show which tokens are set, but never their values."""
        shown = (f"{each.name}={self._display_value(each.name)}" for each in fields(self))
        return f"TokenSet({', '.join(shown)})"

    def _display_value(self, name: str) -> str:
        value = getattr(self, name)
        if name in SECRETS | PERSONAL:
            return "<none>" if value is None else "<set>"
        return repr(value)

    def __reduce__(self) -> NoReturn:
        """Raise TypeError, so that no cache, task queue or crash report can store the tokens."""
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
        source: str,
        dpop_key: str | None = None,
    ) -> "TokenSet":
        """Parse the token response of ``source``, a provider's or server's name.

        A response without ``scope`` grants the requested scope (RFC 6749 section 5.1). Raises
        MalformedTokens. The size of all tokens together is not checked: see `is_too_large`.
        """
        return cls(
            access_token=_new_token(response.get("access_token")),
            token_type=_token_type(response.get("token_type")),
            scope=_parse_scope(response.get("scope"), requested_scope, source),
            subject=subject,
            client_id=client_id,
            refresh_token=_optional_new_token(response.get("refresh_token")),
            id_token=_optional_new_token(response.get("id_token")),
            expires_at=_expiry_of(response.get("expires_in"), now),
            refresh_expires_at=_expiry_of(_refresh_lifetime(response), now),
            issued_at=now,
            granted_at=now,
            requested_scope=requested_scope,
            dpop_key=dpop_key,
        )

    def refreshed(
        self, response: Mapping[str, Any], *, now: int, source: str, dpop_key: str | None = None
    ) -> "TokenSet":
        """Return the successor of this token set. Raises as `from_response` does.

        A response without a scope or a refresh token keeps the current one (RFC 6749 section 6).
        ``dpop_key`` is the key of the request's DPoP proof.
        """
        new = TokenSet.from_response(
            response,
            subject=self.subject,
            client_id=self.client_id,
            requested_scope=self.scope,
            now=now,
            source=source,
            dpop_key=dpop_key,
        )
        new = replace(
            new,
            id_token=new.id_token or self.id_token,
            requested_scope=self.requested_scope,
            granted_at=self.granted_at,
            groups=self.groups,
            issuer=self.issuer,
            resource=self.resource,
            account=self.account,
            email=self.email,
            name=self.name,
        )
        if new.refresh_token is not None:
            return new
        return replace(
            new,
            refresh_token=self.refresh_token,
            refresh_expires_at=new.refresh_expires_at or self.refresh_expires_at,
        )

    def keeping_refresh_token(self, previous: "TokenSet | None") -> "TokenSet":
        """Return this token set, with the previous refresh token if it has none itself.

        Some providers issue a refresh token at the first consent only. The previous one is kept if
        account and client are the same, unless its scope exceeds what was granted this time. The
        grant secret is kept with it, since one refresh token must not be spent under two leases,
        and so is the time of its grant, so that ending the grants of that time includes it. A
        refresh token that may be bound to another DPoP key is useless and is not kept, nor is one
        with which this token set would be too large.
        """
        if (
            previous is None
            or previous.refresh_token is None
            or self.refresh_token is not None
            or self._recipients() != previous._recipients()
            or self.dpop_key != previous.dpop_key
            or not set(previous.scope) <= set(self.scope)
        ):
            return self
        kept = replace(
            self,
            refresh_token=previous.refresh_token,
            refresh_expires_at=previous.refresh_expires_at,
            grant_secret=previous.grant_secret,
            granted_at=previous.granted_at,
        )
        return self if kept.is_too_large else kept

    def may_end_with(self, other: "TokenSet | None") -> bool:
        """Return True if revoking one of two token sets of a provider may end both."""
        return other is not None and other.subject == self.subject

    @property
    def is_renewable(self) -> bool:
        """Whether the gateway can get another access token without the person."""
        return self.refresh_token is not None or self.asserted_by is not None

    @property
    def is_too_large(self) -> bool:
        """Whether the session form is over SIZE_MAX, or CONNECTION_SIZE_MAX with an issuer.

        New ones are rejected; larger ones from before stay valid. Groups do not count: the
        operator's settings list those that are stored.
        """
        limit = SIZE_MAX if self.issuer is None else CONNECTION_SIZE_MAX
        form = replace(self, groups=()).to_session()
        return len(json.dumps(form, separators=(",", ":"))) > limit

    def _recipients(self) -> tuple[str | None, ...]:
        return self.subject, self.client_id, self.issuer, self.resource

    def to_session(self) -> dict[str, Any]:
        """Return the form that the session stores: JSON types, with a version."""
        lists = {name: list(getattr(self, name)) for name in LISTS}
        content = {"version": VERSION, **asdict(self), **lists}
        for name in OPTIONAL:
            if content[name] is None:
                del content[name]
        return content

    @classmethod
    def from_session(cls, data: object) -> "TokenSet":
        """Parse the result of `to_session`; ignores unknown fields. Raises MalformedTokens."""
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
            groups=_texts(data.get("groups")),
            grant_secret=_parse_grant_secret(data.get("grant_secret")),
            dpop_key=_optional_key(data.get("dpop_key")),
            issuer=_optional_text(data.get("issuer")),
            resource=_optional_text(data.get("resource")),
            account=_optional_text(data.get("account")),
            email=_optional_text(data.get("email")),
            name=_optional_text(data.get("name")),
            asserted_by=_optional_text(data.get("asserted_by")),
            asserted_subject=_optional_text(data.get("asserted_subject")),
        )


def _parse_scope(scope: object, requested: tuple[str, ...], source: str) -> tuple[str, ...]:
    try:
        return parse_scope(scope, requested, source=source)
    except TypeError as exc:
        raise MalformedTokens(str(exc)) from None


def _token_type(value: object) -> str:
    """Parse the token type (case-insensitive: RFC 6749 section 5.1); the default is Bearer."""
    return "Bearer" if value in NOTHING else _printable_text(value)


def _token(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        raise MalformedTokens("A token is missing, too long or not text.")
    return value


def _new_token(value: object) -> str:
    if isinstance(value, str) and len(value) > MAX_TOKEN_LENGTH:
        raise TokensTooLarge
    token = _token(value)
    if not TOKEN.fullmatch(token):
        raise MalformedTokens("A token has characters that cannot be sent.")
    return token


def _optional_token(value: object) -> str | None:
    return None if value in NOTHING else _token(value)


def _optional_new_token(value: object) -> str | None:
    return None if value in NOTHING else _new_token(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN_LENGTH:
        raise MalformedTokens("A field of the token set is missing, too long or not text.")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _printable_text(value: object) -> str:
    """Return a text that a page can show. Raises MalformedTokens, for lone surrogates too."""
    text = _text(value)
    if not text.isprintable():
        raise MalformedTokens("A field of the token response has characters that are no text.")
    return text


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not list:
        raise MalformedTokens("The token set has no scope.")
    return tuple([_text(item) for item in value])


def _parse_grant_secret(value: object) -> str:
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
    """Return the lifetime of the refresh token; Google and Keycloak use different names.

    Keycloak sends 0 if it does not expire (https://github.com/keycloak/keycloak/issues/48063).
    """
    named = (response.get(name) for name in ("refresh_expires_in", "refresh_token_expires_in"))
    return next((each for each in named if each not in (*NOTHING, 0, "0")), None)


def _expiry_of(lifetime: object, now: int) -> int | None:
    """Return the end of a lifetime in seconds, which is text in form-encoded responses."""
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
