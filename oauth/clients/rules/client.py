"""A client: its data, and where they come from.

The operator lists clients in a file, with the members of RFC 7591 section 2. Other clients are
known by a Client ID Metadata Document: the client's id is the address of what it says about itself,
and the fetch verifies its host. A listed client whose id is an https address is taken from the
list, and its document is not fetched. The third kind registers itself
(`oauth.clients.rules.registration`).
https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from oauth.clients.rules import names, redirect_uris
from oauth.clients.rules.authentication import (
    CLIENT_SECRET,
    DIGESTS,
    KEYS,
    KEYS_URI,
    NONE,
    PRIVATE_KEY_JWT,
    PUBLIC,
    Authentication,
    read_inline_keys,
    read_methods,
    read_secret_digests,
)
from oauth.clients.rules.errors import UnknownClient
from oauth.clients.rules.redirect_uris import HOST, PCHAR

CLIENT_ID_PREFIX = "dcr."  # of clients that registered themselves
HTTPS_SCHEME = "https://"
DOCUMENT_URL_MAX = 512
DOCUMENT_URIS_MAX = 20
# In normal form: the default port, no query or fragment, and a path.
DOCUMENT_URL = re.compile(rf"https://(?P<host>{HOST})/(?P<path>(?:{PCHAR}|/)+)")
DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
# Members that only a client with a secret would have.
SECRET_MEMBERS = frozenset({"client_secret", "client_secret_expires_at"})

BOUND_TOKENS = "dpop_bound_access_tokens"
GRANT_TYPES_MEMBER, REDIRECT_URIS_MEMBER = "grant_types", "redirect_uris"
LISTED_MEMBERS = frozenset(
    {"client_id", "client_name", "client_uri", GRANT_TYPES_MEMBER, REDIRECT_URIS_MEMBER}
    | {KEYS, KEYS_URI, DIGESTS, BOUND_TOKENS}
)
AUTHORIZATION_CODE, REFRESH_TOKEN = "authorization_code", "refresh_token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523: with an assertion
GRANT_TYPES = (AUTHORIZATION_CODE, REFRESH_TOKEN, JWT_BEARER)
CLIENT_ID = re.compile(r"[\x21-\x7e]{1,512}")  # VSCHAR, without blanks: RFC 6749 appendix A.1
CLIENTS_MAX = 1000
# Labels of a grant, in lists and for rules (`oauth.clients.consent`)
LABEL_MAX = 100
HOST_LABEL = "client_host"


class Source(Enum):
    """The source of a client's data."""

    OPERATOR = "operator"  # the operator's file
    DOCUMENT = "document"  # a document at the client's id
    ITSELF = "itself"  # the client itself: unverified


@dataclass(frozen=True)
class Client:
    """One client. ``host`` is the one that verifies its name; None for an unverified name.

    With ``needs_proof`` it wants its tokens bound to a key (RFC 9449 section 5.2).
    ``grant_types`` are those that the operator listed for it, None without a list.
    """

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    source: Source
    host: str | None = None
    authentication: Authentication = PUBLIC
    needs_proof: bool = False
    grant_types: frozenset[str] | None = None

    @property
    def may_use_assertions(self) -> bool:
        """Whether the client may get tokens for an assertion of its user's provider (RFC 7523).

        A public client may only if the operator listed this grant type for it.
        """
        if self.grant_types is not None:
            return JWT_BEARER in self.grant_types
        return not self.authentication.is_public

    def has_redirect_uri(self, redirect_uri: str, listed: Collection[str]) -> bool:
        """Return True if a redirect URI is the client's."""
        return redirect_uris.matches_any(redirect_uri, self.redirect_uris, listed)


def is_document_url(client_id: str) -> bool:
    """Return True if an id can be the URL of a document."""
    match = DOCUMENT_URL.fullmatch(client_id)
    return (
        match is not None
        and len(client_id) <= DOCUMENT_URL_MAX
        and not any(DOT_SEGMENT.fullmatch(each) for each in match["path"].split("/"))
    )


def document_host(client_id: str) -> str:
    """Return the host of a document's URL. Raises UnknownClient if it cannot be one."""
    match = DOCUMENT_URL.fullmatch(client_id)
    if match is None or not is_document_url(client_id):
        raise UnknownClient(
            "The client's id must be an https address with a path, at the usual port, without "
            "query, fragment and dot segments."
        )
    return match["host"]


def read_document(
    client_id: str,
    members: Mapping[str, Any],
    listed: Collection[str],
    accepted: Collection[str] = (NONE,),
) -> Client:
    """Return the client that a document describes. Raises UnknownClient with the reason.

    ``accepted`` are the authentication methods that this server accepts of documents' clients.
    """
    host = document_host(client_id)
    if members.get("client_id") != client_id:
        raise UnknownClient("The client's document is about another client_id than its address.")
    if SECRET_MEMBERS & members.keys():
        raise UnknownClient("The client's document has a secret, which everybody can read.")
    authentication = _read_authentication(members, host, accepted)
    name = names.clean_name(members.get("client_name"))
    if name == names.UNNAMED:
        raise UnknownClient("The client's document has no client_name.")
    if not names.is_acceptable(name):
        raise UnknownClient(
            "The client_name of the client's document must have a letter and no quotation marks."
        )
    uris = _read_redirect_uris(members, listed)
    # Whatever is not plainly "no" asks for the stronger tokens.
    needs_proof = members.get(BOUND_TOKENS) not in (None, False)
    return Client(client_id, name, uris, Source.DOCUMENT, host, authentication, needs_proof)


def _read_authentication(
    members: Mapping[str, Any], host: str, accepted: Collection[str]
) -> Authentication:
    """Return how a document's client authenticates here. Its keys are at the document's host."""
    supported = read_methods(members)
    usable = supported & set(accepted)
    keys, jwks_uri = read_inline_keys(members), members.get(KEYS_URI)
    if not isinstance(jwks_uri, str) or not _is_at(jwks_uri, host):
        jwks_uri = None
    if PRIVATE_KEY_JWT in usable and not keys and jwks_uri is None:
        usable -= {PRIVATE_KEY_JWT}
        if not usable:
            raise UnknownClient("The client's document has no keys at its own host.")
    if not usable:
        raise UnknownClient(
            "The client's document supports no way to authenticate that is accepted here.",
            supported=sorted(supported),
        )
    if PRIVATE_KEY_JWT not in usable:
        return Authentication(usable)
    return Authentication(usable, keys, None if keys else jwks_uri)


def _is_at(url: str, host: str) -> bool:
    return is_document_url(url) and document_host(url) == host


def _read_redirect_uris(members: Mapping[str, Any], listed: Collection[str]) -> tuple[str, ...]:
    uris = members.get("redirect_uris")
    if not isinstance(uris, list) or len(uris) > DOCUMENT_URIS_MAX:
        raise UnknownClient("The client's document has no list of redirect_uris, or a long one.")
    acceptable = tuple(each for each in uris if redirect_uris.is_acceptable(each, listed))
    if not acceptable:
        raise UnknownClient("The client's document has no redirect_uris that are acceptable.")
    return acceptable


def read_client_list(content: object, listed: Collection[str]) -> dict[str, Client]:
    """Return the clients of a file's JSON. Raises ValueError with a sentence."""
    if not isinstance(content, list) or len(content) > CLIENTS_MAX:
        raise ValueError(f"must be a JSON list of at most {CLIENTS_MAX} clients.")
    clients: dict[str, Client] = {}
    for number, each in enumerate(content, 1):
        client = _read_listed_client(each, f"client {number}", listed)
        if client.id in clients:
            raise ValueError(f"client {number} has the client_id of another.")
        clients[client.id] = client
    return clients


def _read_listed_client(members: object, which: str, listed: Collection[str]) -> Client:
    if not isinstance(members, dict) or "client_id" not in members:
        raise ValueError(f"{which} must be an object with a client_id.")
    if unknown := sorted(members.keys() - LISTED_MEMBERS):
        raise ValueError(
            f"{which} has {unknown[0]}: known are {', '.join(sorted(LISTED_MEMBERS))}."
        )
    client_id = _read_client_id(members["client_id"], which)
    grant_types = _read_grant_types(members, which)
    uris = _read_listed_uris(members, grant_types, which, listed)
    host = _find_host(client_id, members, which)
    name = names.clean_name(members.get("client_name", host or client_id))
    if "client_name" in members and not names.is_acceptable(name):
        raise ValueError(f"{which}: client_name {names.UNACCEPTABLE}")
    authentication = _read_listed_authentication(members, which)
    needs_proof = members.get(BOUND_TOKENS, False)
    if not isinstance(needs_proof, bool):
        raise ValueError(f"{which} must have true or false as {BOUND_TOKENS}.")  # noqa: TRY004
    return Client(
        id=client_id,
        name=name,
        redirect_uris=uris,
        source=Source.OPERATOR,
        host=host,
        authentication=authentication,
        needs_proof=needs_proof,
        grant_types=grant_types,
    )


def _read_grant_types(members: dict[str, Any], which: str) -> frozenset[str] | None:
    """Return the grant types of an entry (RFC 7591 section 2); None if it has no list of them."""
    if GRANT_TYPES_MEMBER not in members:
        return None
    named = members[GRANT_TYPES_MEMBER]
    if not isinstance(named, list) or not named or not all(each in GRANT_TYPES for each in named):
        raise ValueError(f"{which} must have as grant_types a list of {', '.join(GRANT_TYPES)}.")
    return frozenset(named)


def _read_listed_uris(
    members: dict[str, Any],
    grant_types: frozenset[str] | None,
    which: str,
    listed: Collection[str],
) -> tuple[str, ...]:
    """Return the redirect URIs of an entry; none if nobody signs in with that client."""
    if grant_types is not None and AUTHORIZATION_CODE not in grant_types:
        if REDIRECT_URIS_MEMBER in members:
            raise ValueError(
                f"{which} has redirect_uris, but not {AUTHORIZATION_CODE} among its grant_types."
            )
        return ()
    uris = members.get(REDIRECT_URIS_MEMBER)
    if not isinstance(uris, list) or not uris:
        raise ValueError(f"{which} must have a list of redirect_uris.")
    if not all(redirect_uris.is_acceptable(each, listed) for each in uris):
        raise ValueError(
            f"{which} has redirect_uris that are neither https at a name, nor http on loopback, "
            "nor in CLIENTS_REDIRECT_URIS, or that have code, state, iss or error in their query."
        )
    return tuple(uris)


def _read_listed_authentication(members: dict[str, Any], which: str) -> Authentication:
    """Return how a listed client authenticates: one with keys or a secret always has to."""
    named = sorted({KEYS, KEYS_URI, DIGESTS} & members.keys())
    if len(named) > 1:
        raise ValueError(f"{which} has {named[0]} and {named[1]}: remove one of them.")
    if DIGESTS in members:
        digests = read_secret_digests(members[DIGESTS])
        if not digests:
            raise ValueError(
                f"{which} must have as {DIGESTS} what the command client_secret prints, or a list "
                "of two during a rotation."
            )
        return Authentication(frozenset(CLIENT_SECRET), secret_digests=digests)
    return _read_listed_keys(members, which) if named else PUBLIC


def _read_listed_keys(members: dict[str, Any], which: str) -> Authentication:
    jwks_uri, keys = members.get(KEYS_URI), read_inline_keys(members)
    if KEYS in members and not keys:
        raise ValueError(f'{which} must have public signing keys in {KEYS}: {{"keys": [...]}}.')
    if KEYS_URI in members and not (isinstance(jwks_uri, str) and is_document_url(jwks_uri)):
        raise ValueError(f"{which} must have an https address with a path as {KEYS_URI}.")
    return Authentication(frozenset({PRIVATE_KEY_JWT}), keys, jwks_uri)


def _read_client_id(client_id: object, which: str) -> str:
    if not isinstance(client_id, str) or not CLIENT_ID.fullmatch(client_id):
        raise ValueError(f"{which} must have a client_id of 1 to 512 plain letters.")
    if client_id.startswith(CLIENT_ID_PREFIX):
        raise ValueError(
            f"{which}: ids that begin with {CLIENT_ID_PREFIX} are given to who registers."
        )
    if client_id.startswith(HTTPS_SCHEME) and not is_document_url(client_id):
        raise ValueError(f"{which} must have the address of a document, with a path.")
    return client_id


def _find_host(client_id: str, members: dict[str, Any], which: str) -> str | None:
    """Return the host that verifies a client: its document's, or that of its client_uri."""
    if is_document_url(client_id):
        return document_host(client_id)
    uri = members.get("client_uri")
    if uri is None:
        return None
    match = redirect_uris.HTTPS.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        raise ValueError(f"{which} must have an https address as client_uri.")
    return match["host"]
