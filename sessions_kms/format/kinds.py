"""Every kind of item in the table: its id, owner, attributes and versions, and who tends it.

The one place that knows them. Who walks the table asks here what an item is: one that holds
a data key is wrapped anew, and one that ends is cleared, without another word. The table of
kinds in docs/format.md is made from this one.
"""

import hashlib
import re
from binascii import b2a_base64
from typing import Final

from sessions_kms.format.attributes import is_text
from sessions_kms.format.kind import Attributes, Kind

SESSION_KEY: Final = re.compile(r"[a-z0-9]{32}")  # as Django makes them
SHORT_ID: Final = 8  # letters of a session's id that logs and people see
_TO_URLS: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648, section 5
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of 32 bytes

_EVERY: Final[Attributes] = {"id": "S", "version": "N"}
_SEALED: Final[Attributes] = {
    **_EVERY,
    "encryptedData": "B",
    "iv": "B",
    "authTag": "B",
    "encryptedKey": "B",
    "keyPeriod": "N",
    "salt": "B",
    "commitment": "B",
    "createdAt": "N",
    "updatedAt": "N",
    "ttl": "N",
    "revision": "N",
}

SESSION: Final = Kind(
    name="session",
    names="<digest>",
    owner="user#<NAMESPACE>#<user id>",
    attributes=_SEALED,
    optional={"owner": "S", "ancestors": "B"},
    unknown="invalid: no session",
    is_listed=True,
)
TOMBSTONE: Final = Kind(
    name="tombstone",
    names="<digest>",  # that of the session that moved
    attributes={**_EVERY, "movedAt": "N", "ttl": "N"},
    unknown="invalid: no session",
)
DATA_KEY: Final = Kind(
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
    unknown="not used: each process seals with a data key of its own",
)
NOT_BEFORE: Final = Kind(
    name="not-before",
    word="not-before",
    names="[#<name>]",
    attributes={**_EVERY, "notBefore": "N"},
    unknown="cannot tell",
)
MOVED: Final = Kind(
    name="moved mark",
    word="moved",
    names="#<session id>",
    attributes={**_EVERY, "ttl": "N"},
    unknown="counts: only its being there is read",
)
LEASE: Final = Kind(
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
LINK: Final = Kind(
    name="logout link",
    word="logout",
    names="#<name>#<session id>",
    owner="logout#<NAMESPACE>#<name>",
    attributes={**_EVERY, "owner": "S", "createdAt": "N", "ttl": "N"},
    unknown="counts: only its being there is read",
)
LOGOUT_TOKEN: Final = Kind(
    name="used logout token",
    word="logout",
    fixed=("jti",),
    names="#<digest>",
    attributes={**_EVERY, "ttl": "N", "stamp": "B"},
    unknown="counts: only its being there is read",
)
ABOUT: Final = Kind(
    name="about",
    word="about",
    names="#<session id>",
    attributes=_SEALED,
    unknown="tells nothing",
    ends_with_sessions=True,
)
TOKEN: Final = Kind(
    name="token",
    word="token",
    names="#<digest>",
    attributes={**_EVERY, "ttl": "N", "stamp": "B"},
    optional={**_SEALED, "session": "S", "spentAt": "N"},
    unknown="invalid: opens nothing",
    ends_with_sessions=True,
)
ANSWER: Final = Kind(
    name="answer",
    word="answer",
    names="#<digest>",  # that of the token
    attributes=_SEALED,
    unknown="invalid: opens nothing",
    ends_with_sessions=True,
)
KINDS: Final = (
    SESSION,
    TOMBSTONE,
    DATA_KEY,
    NOT_BEFORE,
    MOVED,
    LEASE,
    LINK,
    LOGOUT_TOKEN,
    ABOUT,
    TOKEN,
    ANSWER,
)

# The kinds whose ids begin with a word; of two with the same one, the narrower comes first.
_BY_WORD: Final = {
    word: sorted((kind for kind in KINDS if kind.word == word), key=lambda kind: -len(kind.fixed))
    for word in {kind.word for kind in KINDS if kind.word}
}


def of(item_id: str) -> Kind | None:
    """Return the kind of the item under an id, of whatever namespace; None for none of ours.

    A tombstone stands under a session's id, and counts as one: `tombstone` tells them apart.
    """
    if is_session_id(item_id):
        return SESSION
    word, *rest = item_id.split("#")
    for kind in _BY_WORD.get(word, ()) if rest else ():
        if tuple(rest[1 : 1 + len(kind.fixed)]) == kind.fixed:
            return kind
    return None


def is_session_id(item_id: str) -> bool:
    """Tell whether a session, or its tombstone, may stand under this id."""
    return _SESSION_ID.fullmatch(item_id) is not None


def session_id(namespace: str, session_key: str) -> str:
    """Return the id of a session: a digest, so that the table gives no cookie away."""
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
    """Return the id of the data key that is published for a period."""
    return DATA_KEY.id_in(namespace, str(period))


def not_before_id(namespace: str, name: str | None = None) -> str:
    """Return the id of the moment before which no session counts, or nothing of another name."""
    return NOT_BEFORE.id_in(namespace, *([] if name is None else [name]))


def link_id(namespace: str, name: str, of_session: str) -> str:
    """Return the id of the link of a name to the session of an id."""
    return LINK.id_in(namespace, name, of_session)


def link_owner(namespace: str, name: str) -> str:
    """Return what the index finds the links of a name by."""
    return LINK.id_in(namespace, name)


def linked_session(item_id: str) -> str:
    """Return the id of the session that a link leads to."""
    return item_id.rpartition("#")[2]


def logout_token_id(namespace: str, issuer: str, token_id: str) -> str:
    """Return the id of the mark that a logout token of an issuer was used."""
    named = f"{len(issuer)}:{issuer}{token_id}"
    # JSON can name halves of UTF-16 characters, and a token's id may be any text.
    return LOGOUT_TOKEN.id_in(namespace, _digest(named.encode(errors="surrogatepass")))


def owner_of(namespace: str, user_id: object) -> str | None:
    """Return the owner attribute of a user's sessions, or None where it cannot be indexed."""
    if user_id is None or user_id == "":
        return None
    owner = f"user#{namespace}#{user_id}"
    return owner if is_text(owner) else None


def owner_prefix(namespace: str) -> str:
    """Return what the owners of a namespace's sessions begin with; the user's id follows."""
    return f"user#{namespace}#"


def _digest(named: bytes) -> str:
    """Return the SHA-256 digest in base64url, unpadded."""
    __traceback_hide__ = True
    digest = hashlib.sha256(named).digest()
    return b2a_base64(digest, newline=False).translate(_TO_URLS).rstrip(b"=").decode()
