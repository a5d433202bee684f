"""The item types of the table: ids, owners, attributes and versions.

They are defined only here. Code that scans the table looks up each item's type: an item with a data
key is rewrapped, and an item that expires is cleared. The table of item types in docs/format.md is
generated from this module.
"""

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import RECORD_FIELDS, Item, as_number, as_text, is_text

# Attribute name -> DynamoDB type.
Attributes = Mapping[str, str]
SESSION_KEY: Final = re.compile(r"[a-z0-9]{32}")  # as Django makes them
SHORT_ID: Final = 8  # characters of a session's id in logs and on pages
_TO_URLS: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648, section 5
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of 32 bytes
_EVERY: Final[Attributes] = {"id": "S", "version": "N"}
_SEALED: Final[Attributes] = {
    each.attribute: each.type for each in RECORD_FIELDS if not each.is_optional
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemType:
    """One item type.

    An id is ``word``, the namespace, the ``fixed`` parts and then names, joined by `#`; ``names``
    describes those names for people. Ids of sessions are digests without a word. ``attributes``
    are the required attributes with their types, ``optional`` the others.

    ``readable`` are the versions of this type that this release reads, and ``written`` is the one
    that it writes. A version becomes readable one release before it is written, and stays readable:
    while a fleet is being updated, each process can read what the others write. ``unknown``
    describes how a reader treats an item of any other version.
    """

    name: str
    word: str = ""
    fixed: tuple[str, ...] = ()
    names: str
    owner: str = ""
    attributes: Attributes
    optional: Attributes = field(default_factory=dict)
    unknown: str
    is_listed: bool = False  # lists of sessions show it
    ends_with_sessions: bool = False  # `end_sessions` deletes it with those of its time
    ends_with_data_key: bool = False  # and with those sealed under a leaked data key
    readable: frozenset[int] = frozenset({1})
    written: int = 1

    def __post_init__(self) -> None:
        """Reject a type whose written version is not readable."""
        if self.written not in self.readable:
            raise ValueError(f"A {self.name} would be written in a version that is not readable.")

    @property
    def label(self) -> str:
        """What the derivation of a sealed item's key calls the type."""
        return self.word or self.name

    @property
    def versions(self) -> str:
        """The readable versions as text."""
        return " or ".join(map(str, sorted(self.readable)))

    @property
    def is_rewrapped(self) -> bool:
        """Whether it holds a data key, which `rewrap_sessions` moves to another KMS key."""
        return "encryptedKey" in self.attributes or "encryptedKey" in self.optional

    @property
    def is_cleared(self) -> bool:
        """Whether it expires, and is deleted by DynamoDB or by `clearsessions`."""
        return "ttl" in self.attributes

    def id_in(self, namespace: str, *names: str) -> str:
        """Return the id of the item of these names in a namespace."""
        return "#".join((self.word, namespace, *self.fixed, *names))

    def is_in(self, namespace: str, item_id: str) -> bool:
        """Return True if this is the id of an item of this type with a name, in a namespace."""
        return item_id.startswith(self.id_in(namespace, ""))

    def item(self, item_id: str) -> Item:
        """Return the first attributes of an item: its id, and the version that is written."""
        return {"id": as_text(item_id), "version": as_number(self.written)}

    def version_of(self, item: Mapping[str, Any]) -> int:
        """Return the version of an item of this type.

        Raises InvalidRecord if this release cannot read that version.
        """
        stored = item.get("version")
        text = stored.get("N") if type(stored) is dict and len(stored) == 1 else None
        for version in self.readable:
            if text == str(version):
                return version
        raise InvalidRecord("version")


SESSION: Final = ItemType(
    name="session",
    names="<digest>",
    owner="user#<NAMESPACE>#<user id>",
    attributes=_SEALED,
    optional={each.attribute: each.type for each in RECORD_FIELDS if each.is_optional},
    unknown="invalid: no session",
    is_listed=True,
)


TOMBSTONE: Final = ItemType(
    name="tombstone",
    names="<digest>",  # that of the session that moved
    attributes={**_EVERY, "movedAt": "N", "ttl": "N"},
    unknown="invalid: no session",
)


DATA_KEY: Final = ItemType(
    name="data key",
    word="data-key",
    names="#<period>",
    attributes={
        **_EVERY,
        "keyPeriod": "N",
        "encryptedKey": "B",
        "createdAt": "N",
        "ttl": "N",
    },
    optional={"replacedAt": "N"},
    unknown="ignored: each process uses its own data key",
)


NOT_BEFORE: Final = ItemType(
    name="not-before",
    word="not-before",
    names="[#<name>]",
    attributes={**_EVERY, "notBefore": "N"},
    unknown="cannot tell",
)


MOVED: Final = ItemType(
    name="moved mark",
    word="moved",
    names="#<session id>",
    attributes={**_EVERY, "ttl": "N"},
    unknown="valid: only its existence matters",
)


LEASE: Final = ItemType(
    name="lease",
    word="lease",
    names="#<digest>",
    attributes={
        **_EVERY,
        "ttl": "N",
        "holder": "S",
        "ends": "N",
        "stamp": "B",
    },
    optional=_SEALED,
    unknown="cannot tell",
)


LINK: Final = ItemType(
    name="logout index entry",
    word="logout",
    names="#<name>#<session id>",
    owner="logout#<NAMESPACE>#<name>",
    attributes={**_EVERY, "owner": "S", "createdAt": "N", "ttl": "N"},
    unknown="valid: only its existence matters",
)


LOGOUT_TOKEN: Final = ItemType(
    name="used logout token",
    word="logout",
    fixed=("jti",),
    names="#<digest>",
    attributes={**_EVERY, "ttl": "N", "stamp": "B"},
    unknown="valid: only its existence matters",
)


ASSERTION: Final = ItemType(
    name="used assertion",
    word="assertion",
    names="#<digest>",
    attributes={**_EVERY, "ttl": "N", "stamp": "B"},
    unknown="valid: only its existence matters",
)


ABOUT: Final = ItemType(
    name="session metadata",
    word="about",
    names="#<session id>",
    attributes=_SEALED,
    unknown="ignored",
    ends_with_sessions=True,
    ends_with_data_key=True,
)


TOKEN: Final = ItemType(
    name="token",
    word="token",
    names="#<digest>",
    attributes={**_EVERY, "ttl": "N", "stamp": "B"},
    optional={**_SEALED, "session": "S", "spentAt": "N"},
    unknown="invalid",
    ends_with_sessions=True,
    ends_with_data_key=True,
)


ANSWER: Final = ItemType(
    name="answer",
    word="answer",
    names="#<digest>",  # that of the token
    attributes=_SEALED,
    unknown="invalid",
    ends_with_sessions=True,
    ends_with_data_key=True,
)


DOCUMENT: Final = ItemType(
    name="document",
    word="document",
    names="#<name>",
    attributes={**_SEALED, "stamp": "B"},
    unknown="cannot tell",
    ends_with_data_key=True,
)


AUDIT_WRITER: Final = ItemType(
    name="audit writer",
    word="audit",
    names="#<writer>",
    owner="audit#<NAMESPACE>",
    attributes={
        **_EVERY,
        "owner": "S",
        "createdAt": "N",
        "ttl": "N",
        "stamp": "B",
        "number": "N",
        "checkpoint": "B",
    },
    unknown="reported: its writer cannot be verified",
)


ITEM_TYPES: Final = (
    SESSION,
    TOMBSTONE,
    DATA_KEY,
    NOT_BEFORE,
    MOVED,
    LEASE,
    LINK,
    LOGOUT_TOKEN,
    ASSERTION,
    ABOUT,
    TOKEN,
    ANSWER,
    DOCUMENT,
    AUDIT_WRITER,
)


# The item types by the first word of their ids; of two with one word, the more specific is first.
_BY_WORD: Final = {
    word: sorted(
        (each for each in ITEM_TYPES if each.word == word), key=lambda each: -len(each.fixed)
    )
    for word in {each.word for each in ITEM_TYPES if each.word}
}


def find_type(item_id: str) -> ItemType | None:
    """Return the type of the item under an id, in any namespace; None if it is not one of ours.

    A tombstone has a session's id, and counts as a session: see `record.is_tombstone`.
    """
    if is_session_id(item_id):
        return SESSION
    word, *rest = item_id.split("#")
    for item_type in _BY_WORD.get(word, ()) if rest else ():
        if tuple(rest[1 : 1 + len(item_type.fixed)]) == item_type.fixed:
            return item_type
    return None


def is_session_id(item_id: str) -> bool:
    """Return True if this may be the id of a session or of its tombstone."""
    return _SESSION_ID.fullmatch(item_id) is not None


def session_id(namespace: str, session_key: str) -> str:
    """Return the id of a session: a digest, so that the table does not reveal cookies."""
    __traceback_hide__ = True
    parts = (b"sessions_kms/1/id", namespace.encode(), session_key.encode())
    return _digest(b"\0".join(parts))


def lease_id(namespace: str, secret: str) -> str:
    """Return the id of the lease of a secret."""
    __traceback_hide__ = True
    parts = (b"sessions_kms/1/lease", namespace.encode(), secret.encode())
    return LEASE.id_in(namespace, _digest(b"\0".join(parts)))


def token_id(namespace: str, token: str) -> str:
    """Return the id of the item that a token opens."""
    __traceback_hide__ = True
    parts = (b"sessions_kms/1/token", namespace.encode(), token.encode())
    return TOKEN.id_in(namespace, _digest(b"\0".join(parts)))


def answer_id(of_token: str) -> str:
    """Return the id of the answer to a spent token, by the id of the token's item."""
    _, _, rest = of_token.partition("#")
    return f"{ANSWER.word}#{rest}"


def data_key_id(namespace: str, period: int) -> str:
    """Return the id of the published data key of a period."""
    return DATA_KEY.id_in(namespace, str(period))


def not_before_id(namespace: str, name: str | None = None) -> str:
    """Return the id of the cutoff before which sessions are invalid, or of a named cutoff."""
    return NOT_BEFORE.id_in(namespace, *([] if name is None else [name]))


def link_id(namespace: str, name: str, of_session: str) -> str:
    """Return the id of the logout link from a name to a session id."""
    return LINK.id_in(namespace, name, of_session)


def audit_writer_id(namespace: str, writer: str) -> str:
    """Return the id of the item with the last checkpoint of a writer of the audit log."""
    return AUDIT_WRITER.id_in(namespace, writer)


def audit_owner(namespace: str) -> str:
    """Return the owner attribute of these items, by which the index finds them."""
    return f"{AUDIT_WRITER.word}#{namespace}"


def link_owner(namespace: str, name: str) -> str:
    """Return the owner attribute of a name's links, by which the index finds them."""
    return LINK.id_in(namespace, name)


def linked_session(item_id: str) -> str:
    """Return the session id in the id of a link."""
    return item_id.rpartition("#")[2]


def logout_token_id(namespace: str, issuer: str, token_id: str) -> str:
    """Return the id of the item that marks a logout token as used."""
    return LOGOUT_TOKEN.id_in(namespace, _digest_of_pair(issuer, token_id))


def assertion_id(namespace: str, client_id: str, jti: str) -> str:
    """Return the id of the item that marks a client's assertion as used."""
    return ASSERTION.id_in(namespace, _digest_of_pair(client_id, jti))


def identity_assertion_id(namespace: str, issuer: str, jti: str) -> str:
    """Return the id of the item that marks a provider's assertion about a user as used.

    No client has an id with a space, so it is never that of a client's assertion.
    """
    return assertion_id(namespace, f"id-jag {issuer}", jti)


def _digest_of_pair(first: str, second: str) -> str:
    # A token's id may be any text, and JSON can contain lone surrogates.
    return _digest(f"{len(first)}:{first}{second}".encode(errors="surrogatepass"))


def owner_of(namespace: str, user_id: object) -> str | None:
    """Return the owner attribute of a user's sessions, or None if it cannot be indexed."""
    if user_id is None or user_id == "":
        return None
    owner = f"user#{namespace}#{user_id}"
    return owner if is_text(owner) else None


def owner_prefix(namespace: str) -> str:
    """Return the prefix of the owner attributes in a namespace; the user's id follows it."""
    return f"user#{namespace}#"


def _digest(content: bytes) -> str:
    """Return the SHA-256 digest in base64url, unpadded."""
    __traceback_hide__ = True
    digest = hashlib.sha256(content).digest()
    return b2a_base64(digest, newline=False).translate(_TO_URLS).rstrip(b"=").decode()
