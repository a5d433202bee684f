"""One registration of this gateway as a client of an authorization server, and its JSON form."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

OPERATOR: Final = "operator"  # the client is in the settings
DOCUMENT: Final = "document"  # the client id is the address of a document (`client_documents`)
DYNAMIC: Final = "dynamic"  # the server made the client when it was asked to (RFC 7591)

DAY: Final = 86_400  # seconds
EXPIRY_MARGIN: Final = 300  # seconds that a secret must last to be used for a connection
CLOCK_SKEW: Final = 300  # seconds by which clocks may differ


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A client at one issuer, with one redirect URI. Times are epoch seconds.

    ``auth_method`` is how it authenticates at the token endpoint. None means that a client with a
    secret does as the server's metadata says, and that another is public. ``scopes`` are those that
    were registered. ``secret_expires_at`` is None if the secret does not expire. ``source`` is one
    of the constants above.
    """

    client_id: str
    issuer: str
    redirect_uri: str
    source: str
    made_at: int
    client_secret: str = field(default="", repr=False)
    auth_method: str | None = None
    secret_expires_at: int | None = None
    scopes: tuple[str, ...] = ()

    def has_expired(self, now: float) -> bool:
        """Return True if its secret has expired, or will before a connection could be made."""
        return self.secret_expires_at is not None and self.secret_expires_at <= now + EXPIRY_MARGIN

    def is_older_than_a_day(self, now: float) -> bool:
        """Return True if it was made over a day ago, or by a clock that was wrong."""
        return not -CLOCK_SKEW <= now - self.made_at < DAY

    def to_json(self) -> dict[str, Any]:
        """Return the form that is stored, sealed."""
        __traceback_hide__ = True
        return {**asdict(self), "scopes": list(self.scopes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Registration":
        """Return what `to_json` stored; ignores unknown members. Raises TypeError."""
        __traceback_hide__ = True
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        return cls(**{**known, "scopes": tuple(known.get("scopes", ()))})
