"""Apple: https://developer.apple.com/documentation/signinwithapplerestapi."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.oauth.support.fake_provider import Response
from tests.providers.stubs.stub import Stub, query_of
from tests.support.keys import to_pem

TEAM_ID, KEY_ID = "TEAM123456", "KEY1234567"
KEY = ec.generate_private_key(ec.SECP256R1())
HALF_A_YEAR = 15777000  # seconds


@dataclass
class Apple(Stub):
    """Posts its responses, has no userinfo, and takes secrets that are made from a key."""

    name: ClassVar[str] = "apple"
    host: ClassVar[str] = "appleid.apple.com"
    scopes_known: ClassVar[frozenset[str]] = frozenset({"openid", "email", "name"})
    knows_pkce: bool = False
    rotates: bool = False

    @property
    def environment(self) -> dict[str, str]:
        key_file = self.trusted.with_name("apple.p8")
        write_key(key_file)
        own = {"TEAM_ID": TEAM_ID, "PRIVATE_KEY_FILE": str(key_file), "PRIVATE_KEY_ID": KEY_ID}
        found = super().environment | {f"OAUTH_APPLE_{name}": own[name] for name in own}
        return {name: value for name, value in found.items() if "SECRET" not in name}

    def metadata(self) -> dict[str, Any]:
        """https://appleid.apple.com/.well-known/openid-configuration."""
        found = super().metadata()
        del found["userinfo_endpoint"]
        return found | {"response_modes_supported": ["query", "fragment", "form_post"]}

    def fault_of(self, query: dict[str, str]) -> str | None:
        """Insist on form_post for scopes, from "Request an authorization to the … server"."""
        asks = {"name", "email"} & set(query.get("scope", "").split())
        if asks and query.get("response_mode") != "form_post":
            return "invalid_request"
        return super().fault_of(query)

    def authorize(self, query: dict[str, str]) -> Response:
        """Answer with a page that posts itself, and with the name the first time."""
        status, location, body = super().authorize(query)
        if status != 302 or query.get("response_mode") != "form_post":
            return status, location, body
        parts = urlsplit(location)
        fields = query_of(location) | {
            "user": json.dumps({"name": {"firstName": "Mallory", "lastName": "<b>"}}),
            "id_token": "of-the-browser",
        }
        return (
            200,
            "text/html",
            page_that_posts(f"{parts.scheme}://{parts.netloc}{parts.path}", fields),
        )

    def note(self, asked: dict[str, str]) -> None:
        """Email comes in the id token, verified as text or not."""
        self.more_of_id_token = {"email": "ada@privaterelay.example", "email_verified": "true"}

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        """https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret."""
        secret = form.get("client_secret", "")
        if authorization or jwt.get_unverified_header(secret).get("kid") != KEY_ID:
            return False
        claims = jwt.decode(
            secret,
            KEY.public_key(),
            ["ES256"],
            audience="https://appleid.apple.com",
            issuer=TEAM_ID,
            # The gateway's clock is DynamoDB's, which tests move.
            options={"verify_iat": False, "verify_exp": False, "require": ["exp", "iat", "sub"]},
        )
        self.assertions.append(claims)
        lasts = claims["exp"] - claims["iat"]
        is_own = claims["sub"] == form.get("client_id") == self.client_id
        return bool(is_own and lasts <= HALF_A_YEAR)


def page_that_posts(url: str, fields: dict[str, str]) -> bytes:
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    form = f'<form method="post" action="{url}">{inputs}</form>'
    icon = '<link rel="icon" href="data:,">'  # else the browser asks for one
    return f"{icon}<body onload=document.forms[0].submit()>{form}</body>".encode()


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Return where such a page posts, and what."""
    action = re.search(r'action="([^"]+)"', page)
    assert action is not None
    fields = re.findall(r'name="([^"]+)" value="([^"]*)"', page)
    return action[1], {name: html.unescape(value) for name, value in fields}


def write_key(path: Path) -> None:
    path.write_bytes(to_pem(KEY))
