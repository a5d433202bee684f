"""OAuth clients that sign in here, by environment: `AUTHORIZATION_ISSUER` and `CLIENTS_…`.

What enters are environment variables and the upstreams that are offered; what leaves are the
settings `AUTHORIZATION_SERVER`, None where it is off, and `OAUTH_CLIENTS`. Nothing but the file of
`CLIENTS_FILE` is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway_site.environment.addresses import public_url
from gateway_site.environment.reading import Variables
from oauth.clients.rules import client_ids, document, listed, redirect_uris, strict_json
from oauth.clients.rules.client import Client
from oauth.clients.server import AuthorizationServer

ISSUER = "AUTHORIZATION_ISSUER"
PREFIX = "CLIENTS_"
SUFFIXES = (
    "ACCESS_TOKEN_AGE",
    "ALLOWED_HOSTS",
    "END_WITH_SID",
    "FILE",
    "GRANT_AGE",
    "METADATA_DOCUMENTS",
    "REDIRECT_URIS",
    "REFRESH_GRACE",
    "REFUSED",
    "REGISTRATION",
)
NAMES: tuple[str, ...] = (ISSUER, *(PREFIX + suffix for suffix in SUFFIXES))
HOST = re.compile(rf"\.?(?:{redirect_uris.HOST}|localhost|[a-z0-9-]+)")
DIGEST = re.compile("sha256:[0-9a-f]{64}")  # of a long client id, as `list_clients` shows it
FILE_MAX = 256 * 1024  # bytes
# Seconds, from and to.
ACCESS_TOKEN_AGE = (60, 24 * 3600)
REFRESH_GRACE = (0, 300)
GRANT_AGE = (600, 90 * 24 * 3600)  # longer than a code and its consent take


def authorization_server(
    variables: Variables, upstreams: Mapping[str, str], *, url: str, local: bool
) -> AuthorizationServer | None:
    """Return what is configured; None where clients are not let in.

    `upstreams` are the names of those that are offered, with their providers, and `url` is the
    gateway's own address. Raises ImproperlyConfigured, naming the variable.
    """
    issuer = _issuer(variables, upstreams, url=url, local=local)
    if issuer is None:
        variables.refuse(
            NAMES,
            "is about nothing: no client is let in. Set PUBLIC_URL, and UPSTREAM_<NAME>_CLIENTS=1 "
            "for each upstream that clients may call.",
        )
        return None
    own = variables.under(PREFIX)
    uris = _redirect_uris(own)
    known = _listed(own, uris)
    return AuthorizationServer(
        issuer=issuer,
        upstreams=dict(upstreams),
        metadata_documents=bool(own.flag("METADATA_DOCUMENTS")),
        registration=bool(own.flag("REGISTRATION")),
        allowed_hosts=_hosts(own),
        refused=_refused(own, known),
        listed=known,
        redirect_uris=uris,
    )


def lifetimes(variables: Variables) -> dict[str, Any]:
    """Return the setting `OAUTH_CLIENTS`: what is set of how long tokens live."""
    own = variables.under(PREFIX)
    numbers = {
        "access_token_age": _seconds(own, "ACCESS_TOKEN_AGE", ACCESS_TOKEN_AGE),
        "refresh_grace": _seconds(own, "REFRESH_GRACE", REFRESH_GRACE),
        "end_with_sid": own.flag("END_WITH_SID"),
    }
    return {name: value for name, value in numbers.items() if value is not None}


def grant_age(variables: Variables) -> int | None:
    """Return how long a grant lives from its consent on; None for as long as a session."""
    return _seconds(variables.under(PREFIX), "GRANT_AGE", GRANT_AGE)


def _issuer(
    variables: Variables, upstreams: Mapping[str, str], *, url: str, local: bool
) -> str | None:
    """Return the one address under which clients know the gateway; never a request's."""
    named = public_url(variables, ISSUER, local=local)
    if named and url and named != url:
        raise variables.error(ISSUER, "must be PUBLIC_URL, where both are set.")
    if not named and not upstreams:
        return None
    if not (named or url):
        raise variables.error(
            f"UPSTREAM_{next(iter(upstreams)).upper()}_CLIENTS",
            "needs PUBLIC_URL: clients must know the gateway by one address.",
        )
    return named or url


def _seconds(own: Variables, suffix: str, bounds: tuple[int, int]) -> int | None:
    least, most = bounds
    what = f"must be a whole number of seconds, from {least} to {most}."
    return own.number(suffix, what, minimum=least, maximum=most)


def _hosts(own: Variables) -> frozenset[str]:
    found = own.words("ALLOWED_HOSTS")
    if not all(HOST.fullmatch(each) for each in found):
        raise own.error(
            "ALLOWED_HOSTS",
            "must be hosts in small letters, such as claude.ai, .example.com for what lies below "
            "it, or localhost for programs on people's own computers.",
        )
    return frozenset(found)


def _refused(own: Variables, known: Mapping[str, Client]) -> frozenset[str]:
    """Return who is turned away; what would turn nobody away is an error."""
    found = own.words("REFUSED")
    if not all(HOST.fullmatch(each) or _is_id(each) for each in found):
        raise own.error(
            "REFUSED",
            "must be hosts as in CLIENTS_ALLOWED_HOSTS, or whole client ids as list_clients shows "
            "them: dcr.…, sha256:…, or the https address of a document.",
        )
    if both := sorted(known.keys() & set(found)):
        raise own.error(
            "REFUSED", f"names {both[0]}, which CLIENTS_FILE lets in: remove it from either."
        )
    return frozenset(found)


def _is_id(text: str) -> bool:
    return document.is_address(text) or any(
        form.fullmatch(text) for form in (client_ids.FORM, DIGEST)
    )


def _redirect_uris(own: Variables) -> frozenset[str]:
    """Return the addresses with schemes of their own; without the variable, the default ones."""
    found = own.words("REDIRECT_URIS")
    if not all(map(redirect_uris.is_private, found)):
        raise own.error(
            "REDIRECT_URIS",
            f"must be whole addresses with a scheme of a program's own, such as "
            f"{redirect_uris.CURSOR}, without code, state, iss or error in their query. Those with "
            "https or http need not be listed.",
        )
    return frozenset(found) or redirect_uris.DEFAULT


def _listed(own: Variables, uris: frozenset[str]) -> dict[str, Client]:
    path = own.text("FILE")
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_MAX + 1)
        content = strict_json.loads(data) if len(data) <= FILE_MAX else None
    except OSError as error:
        raise own.error("FILE", f"names a file that cannot be read: {error.strerror}.") from None
    except strict_json.InvalidJSON:
        raise own.error("FILE", "names a file that is not valid JSON.") from None
    try:
        return listed.clients_of(content, uris)
    except ValueError as error:
        raise own.error("FILE", f"cannot be used: its content {error}") from None
