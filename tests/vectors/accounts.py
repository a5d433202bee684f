"""The vectors of what sessions and grants hold of a person's accounts, and of used assertions."""

import json
from collections.abc import Iterator
from typing import Any

from tests.sessions_kms.support import reference_items as items
from tests.vectors import case
from tests.vectors.others import LEASES, Other, lease

FOLDER = "accounts"
ISSUER, SERVER, JTI = "https://login.example.com", "notes", "0123456789abcdef"
GRANT_SECONDS = 900
PERSON = {"groups": ["sales", "staff"], "email": "ada@example.com", "name": "Ada Lovelace"}
SIGNED_IN = {"_auth_user_id": "42"}
PROVIDER = {
    "version": 1,
    "access_token": "access-token-of-corp",
    "token_type": "Bearer",
    "scope": ["openid", "email"],
    "subject": "1001",
    "client_id": "gateway",
    "refresh_token": "refresh-token-of-corp",
    "id_token": "header.claims.signature",
    "expires_at": case.UPDATED + 3_600,
    "refresh_expires_at": None,
    "issued_at": case.UPDATED,
    "granted_at": case.CREATED,
    "requested_scope": ["openid", "email", "profile"],
    "grant_secret": "0123456789abcdef0123456789abcdef",
    "dpop_key": None,
} | PERSON
CONNECTED = PROVIDER | {
    "access_token": "access-token-of-notes",
    "scope": ["read"],
    "requested_scope": ["read"],
    "client_id": "gateway-at-notes",
    "subject": "42",
    "refresh_token": None,
    "id_token": None,
    "granted_at": case.UPDATED,
    "groups": [],
    "grant_secret": "fedcba9876543210fedcba9876543210",
    "issuer": "https://login.notes.example",
    "resource": "https://mcp.notes.example/mcp",
    "asserted_by": "corp",
    "asserted_subject": "1001",
}
ASSERTED = {"provider": "corp", "subject": "1001", "granted_at": case.CREATED} | PERSON


def cases() -> Iterator[tuple[str, Other]]:
    """Yield each vector with its path."""
    of_server = {name: CONNECTED[name] for name in CONNECTED if name not in {"email", "name"}}
    for name, description, content in (
        ("provider", "Tokens of a provider, for identity tokens too.", {"oauth:corp": PROVIDER}),
        (
            "asserted_server",
            "Tokens of a connected server for which the provider vouched.",
            {"oauth:corp": PROVIDER, "oauth:notes": of_server},
        ),
        (
            "assertion_failed",
            "The server or the provider refused a minute ago.",
            {"oauth:corp": PROVIDER, "oauth_assertion_failed:notes": case.UPDATED},
        ),
    ):
        yield f"{FOLDER}/{name}", _session(description, SIGNED_IN | content)
    grant = SIGNED_IN | {"_grant": 1, "oauth_asserted": ASSERTED}
    ends_at = case.UPDATED + GRANT_SECONDS
    described = "A grant that came with an assertion."
    yield (
        f"{FOLDER}/asserted_grant",
        _session(described, grant, created=case.UPDATED, ttl=ends_at),
    )
    yield f"{FOLDER}/used_assertion", _used_assertion()
    yield f"{LEASES}/of_an_assertion", _lease()


def _session(description: str, content: dict[str, Any], **attributes: Any) -> Other:
    plaintext = json.dumps(content, separators=(",", ":"))
    return Other(
        description=description,
        given={
            "absoluteTimeout": 7 * case.DAY,
            "grantTimeout": case.GRANT_TIMEOUT,
            "notBefore": 0,
            "sessionKey": case.SESSION_KEY,
        },
        item=case.seal_session(plaintext.encode(), **attributes),
        expected={"outcome": "session", "plaintext": plaintext},
    )


def _used_assertion() -> Other:
    item: case.Item = {
        "id": {"S": items.used_assertion_id(case.NAMESPACE, f"id-jag {ISSUER}", JTI)},
        "version": {"N": "1"},
        "ttl": {"N": str(case.NOW + 300 + 360)},
        "stamp": {"B": case.fixed_bytes("stamp of a used assertion", 16)},
    }
    return Other(
        description="An assertion of a provider about a user, which was accepted.",
        given={"issuer": ISSUER, "jti": JTI},
        item=item,
        expected={"outcome": "used"},
    )


def _lease() -> Other:
    secret, ends = items.assertion_lease_secret(SERVER, case.SESSION_KEY), case.NOW + 15
    return Other(
        description="One process exchanges an assertion, for a session and a server.",
        given={"leaseSecret": secret, "sessionKey": case.SESSION_KEY, "server": SERVER},
        item=lease(ends, id={"S": items.lease_id(case.NAMESPACE, secret)}),
        expected={"outcome": "held", "until": ends + 5},
    )
