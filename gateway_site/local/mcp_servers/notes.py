"""The upstream `notes`: MCP, the endpoints of its authorization server, and one page.

The endpoints are the SDK's, with what it lacks: public clients, and the issuer in every response of
the authorization endpoint (RFC 9207).
"""

from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import ProviderTokenVerifier, construct_redirect_uri
from mcp.server.auth.routes import build_metadata, create_auth_routes
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthMetadata
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway_site.local.mcp_servers.application import build_application, compute_digest, get_token
from gateway_site.local.mcp_servers.authorization import ALLOW_PATH, SCOPE, Authorization

# Without passwords: it listens on loopback and protects nothing.
ACCOUNTS = ("ada@notes.example", "grace@notes.example")
SCOPES = [SCOPE, "offline_access"]
METHODS = ["none", "client_secret_basic", "client_secret_post"]
NOTES_MAX, NOTE_MAX = 100, 1000  # notes of an account, characters of a note
STYLE = Path(__file__).resolve().parents[2] / "static/gateway.css"
CLIENTS = ClientRegistrationOptions(enabled=True, valid_scopes=SCOPES, default_scopes=SCOPES)


def build_site(authorization: Authorization) -> Starlette:
    """Return the whole site."""
    pages = Pages(authorization)
    own = [
        Route("/.well-known/oauth-authorization-server", pages.metadata, methods=["GET"]),
        Route("/authorize", pages.authorize, methods=["GET"]),
        Route("/revoke", pages.revoke, methods=["POST"]),
        Route(ALLOW_PATH, pages.ask, methods=["GET"]),
        Route(ALLOW_PATH, pages.decide, methods=["POST"]),
        Route("/style.css", style, methods=["GET"]),
    ]
    of_the_sdk = create_auth_routes(
        authorization, AnyHttpUrl(authorization.issuer), client_registration_options=CLIENTS
    )
    return build_application(build_server(authorization), [*own, *of_the_sdk])


def build_server(authorization: Authorization) -> MCPServer[Any]:
    """Return the MCP server; each account has its own notes, until a restart."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(authorization.issuer),
        resource_server_url=AnyHttpUrl(authorization.resource),
        required_scopes=[SCOPE],
        validate_token_resource=True,
    )
    verifier = ProviderTokenVerifier(authorization)
    server = MCPServer("notes", token_verifier=verifier, auth=auth, log_level="WARNING")
    notes: dict[str, list[str]] = {}

    @server.tool()
    async def whoami() -> dict[str, Any]:
        """Return the account here, and a digest of the token that came, never the token."""
        token = get_token()
        digest = compute_digest(token.token)
        return {"account": token.subject, "scopes": token.scopes, "sha256": digest[:12]}

    @server.tool()
    async def add_note(text: str) -> str:
        """Keep a note."""
        mine = notes.setdefault(_account(), [])
        mine.append(text[:NOTE_MAX])
        del mine[:-NOTES_MAX]
        return f"You have {len(mine)} notes."

    @server.tool()
    async def list_notes() -> list[str]:
        """Return the notes of the account."""
        return notes.get(_account(), [])

    return server


class Pages:
    """The views of the authorization server that the SDK lacks, or whose form here is another."""

    def __init__(self, authorization: Authorization) -> None:
        self._authorization = authorization
        self._client = ClientAuthenticator(authorization)

    async def metadata(self, request: Request) -> Response:
        """Return the metadata (RFC 8414)."""
        issuer = AnyHttpUrl(self._authorization.issuer)
        found: OAuthMetadata = build_metadata(
            issuer, None, CLIENTS, RevocationOptions(enabled=True)
        )
        found.token_endpoint_auth_methods_supported = METHODS
        found.revocation_endpoint_auth_methods_supported = METHODS
        found.authorization_response_iss_parameter_supported = True
        return await MetadataHandler(found).handle(request)

    async def authorize(self, request: Request) -> Response:
        """Lead to the page that asks, or answer the client with an error and the issuer."""
        response = await AuthorizationHandler(self._authorization).handle(request)
        where = response.headers.get("location", "")
        if where and not where.startswith(ALLOW_PATH):
            where = construct_redirect_uri(where, iss=self._authorization.issuer)
            return RedirectResponse(where, HTTPStatus.FOUND, {"Cache-Control": "no-store"})
        return response

    async def revoke(self, request: Request) -> Response:
        """End the grant of a token (RFC 7009); the SDK's view asks public clients for a secret."""
        try:
            client = await self._client.authenticate_request(request)
        except AuthenticationError:
            return JSONResponse({"error": "invalid_client"}, HTTPStatus.UNAUTHORIZED)
        token = str((await request.form()).get("token", ""))
        found = await self._authorization.load_access_token(
            token
        ) or await self._authorization.load_refresh_token(client, token)
        if found is not None and found.client_id == client.client_id:
            await self._authorization.revoke_token(found)
        return Response(headers={"Cache-Control": "no-store"})

    async def ask(self, request: Request) -> Response:
        """Ask which account allows it."""
        id_ = request.query_params.get("request", "")
        found = self._authorization.requests.get(id_)
        if found is None:
            return _page("<p>This request is over. Start again in the app.</p>", status=400)
        client, params = found
        choices = "".join(
            f'<button type="submit" name="account" value="{escape(each)}">'
            f"Allow as {escape(each)}</button>"
            for each in ACCOUNTS
        )
        where = urlsplit(str(params.redirect_uri))
        return _page(
            f"<p><strong>{escape(client.client_name or client.client_id)}</strong> at"
            f" {escape(where.netloc)} asks for access to your notes.</p>"
            f'<form class="fields" method="post"><input type="hidden" name="request"'
            f' value="{escape(id_)}">{choices}<button class="other" type="submit" name="account"'
            ' value="">Cancel</button></form>',
            form_target=f"{where.scheme}://{where.netloc}",
        )

    async def decide(self, request: Request) -> Response:
        """Answer the client."""
        form = await request.form()
        account = str(form.get("account", ""))
        where = self._authorization.decide(
            str(form.get("request", "")), account if account in ACCOUNTS else None
        )
        if where is None:
            return _page("<p>This request is over. Start again in the app.</p>", status=400)
        return RedirectResponse(where, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


async def style(request: Request) -> Response:
    """Return the gateway's style sheet."""
    return FileResponse(STYLE, media_type="text/css")


def _account() -> str:
    return get_token().subject or ""


def _page(content: str, *, form_target: str = "", status: int = HTTPStatus.OK) -> Response:
    """Return a page; Chromium applies form-action to the redirect after the form, too."""
    policy = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none';"
        f" form-action 'self' {form_target}"
    )
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Local notes</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="style.css">'
        '</head><body><main class="column"><div class="sign-in-card"><h1>Local notes</h1>'
        f"{content}</div></main></body></html>"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers)
