"""allauth's OAuth 2.0 adapters, which here keep the whole token response and are stricter.

Their sign-ins carry the whole token set as `token_set`. A response that cannot be parsed raises
`ProviderUnavailable`, which shows an error page instead of a traceback with tokens in it.

allauth's `requests` sessions send through `oauth.network.http`: a `requests.Session` has no limit
in time or size, decompresses bodies, and replaces a token with a `.netrc` entry for the host.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any, NoReturn

import requests
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from requests.adapters import BaseAdapter

from oauth.admission import decision
from oauth.admission.claims import is_true
from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable, SignInRefused
from oauth.logout.deferred_revocation import revoke_unused
from oauth.network import http
from oauth.network.concurrency import ConcurrencyLimit
from oauth.network.responses import ProviderResponse
from oauth.network.vetted_addresses import Reach
from oauth.provider import config, dpop, metadata, token_endpoint
from oauth.provider.config import POST, ProviderConfig
from oauth.provider.metadata import Metadata
from oauth.provider.pushed_requests import PushingOAuth2Client
from oauth.provider.token_set import MalformedTokens, TokenSet, TokensTooLarge
from oauth.sign_in import accounts
from oauth.tokens import vault
from sessions_kms import user_id_of
from sessions_kms.services import services

# Headers of the connection, which `oauth.network.http` sets itself.
CONNECTION_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "user-agent"})

SURROGATES = re.compile("[\ud800-\udfff]")

# For each provider and process. Anybody can cause exchanges with made-up codes. All POST requests
# to a provider that a visitor without a grant can cause count towards this limit.
EXCHANGES_MAX = 16
exchanges = ConcurrencyLimit(EXCHANGES_MAX)


def mount_bounded_adapter(session: requests.Session, reach: Reach) -> requests.Session:
    """Make a session send through `oauth.network.http`, which raises ProviderUnavailable."""
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter(reach))
    return session


class _BoundedAdapter(BaseAdapter):
    """Sends one request. A redirect is an error: it would send codes and tokens elsewhere."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in CONNECTION_HEADERS
        }
        body = request.body.encode() if isinstance(request.body, str) else request.body
        method = request.method or "GET"
        max_bytes = http.DOCUMENT_MAX if method == "GET" else http.RESPONSE_MAX
        response = http.request(
            method, request.url or "", headers, body, reach=self._reach, max_bytes=max_bytes
        )
        if response.is_overloaded or 300 <= response.status < 400:
            raise ProviderUnavailable("The provider cannot answer now.", Code.USERINFO_STATUS)
        return _to_requests_response(request, response)

    def close(self) -> None:
        """Do nothing: each request has its own connection."""


def _to_requests_response(
    request: requests.PreparedRequest, response: ProviderResponse
) -> requests.Response:
    __traceback_hide__ = True
    converted = requests.Response()
    converted.status_code = response.status
    converted.headers["Content-Type"] = response.media_type
    converted.encoding = "utf-8"
    converted.raw = BytesIO(response.body)
    converted.request, converted.url = request, request.url or ""
    return converted


@contextmanager
def reject_unreadable() -> Iterator[None]:
    """Turn the errors of parsing a malformed response into ProviderUnavailable or ProviderRefused.

    The cause is dropped, because its message and frames may hold the response.
    """
    try:
        yield
    except requests.RequestException:
        raise  # allauth's views and ours handle it, and its message holds no body
    except TokensTooLarge as exc:
        raise ProviderRefused(str(exc), Code.TOKENS_TOO_LARGE) from None
    except MalformedTokens as exc:
        raise ProviderUnavailable(str(exc), Code.ANSWER_UNREADABLE) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise ProviderUnavailable(
            "The provider's response cannot be parsed.", Code.ANSWER_UNREADABLE
        ) from None


def reject_large_tokens(
    request: HttpRequest, provider: str, token_set: TokenSet, user_id: str | None
) -> NoReturn:
    """Raise ProviderRefused for new tokens of a user that are too large to be stored.

    Nobody will hold them, so they are revoked at the end of the request, unless the session has
    others of the same account: they could end with these.
    """
    __traceback_hide__ = True
    if not token_set.may_end_with(vault.load_token_set(request.session, provider)):
        revoke_unused(request, provider, token_set, user_id)
    raise ProviderRefused(str(TokensTooLarge()), Code.TOKENS_TOO_LARGE)


def check_account_text(account: SocialAccount) -> None:
    """Reject text that databases reject: NUL, lone surrogates, and NaN or Infinity.

    https://www.postgresql.org/docs/current/datatype-json.html
    """
    try:
        text = json.dumps([account.uid, account.extra_data], ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ProviderRefused("The response holds what is no number.", Code.TEXT) from None
    if "\\u0000" in text.replace("\\\\", "") or SURROGATES.search(text):
        raise ProviderRefused("The response holds what is no text.", Code.TEXT)


class TokenCapturingAdapter(OAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """Keeps the scope, id token, token type and refresh token expiry, which allauth drops."""

    _dpop_key: str | None = None  # to which the tokens of this sign-in are bound

    @property
    def _clock(self) -> Callable[[], float]:
        # allauth creates the adapters, so they cannot be given the services.
        return services().clock

    def get_access_token_data(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: OAuth2Client,
        pkce_code_verifier: str | None = None,
    ) -> Any:
        """Exchange the code, with the same client authentication as a refresh.

        A provider with its own exchange (another client class, or GET) keeps it. Raises
        ProviderBusy during too many exchanges.
        """
        __traceback_hide__ = True
        self._use_verifier(pkce_code_verifier)
        with exchanges.slot(self.get_provider().sub_id):
            return self._exchanged(request, app, client, pkce_code_verifier)

    def check_issuer(self) -> None:
        """Check the issuer of an authorization response. Without an issuer, do nothing."""

    def _use_verifier(self, code_verifier: str | None) -> None:
        """Store the request's code verifier, against which an id token is checked."""

    def _exchanged(
        self,
        request: HttpRequest,
        app: SocialApp,
        client: OAuth2Client,
        pkce_code_verifier: str | None,
    ) -> Any:
        __traceback_hide__ = True
        configured = config.find_provider(self.get_provider().sub_id)
        plain = type(client) in {OAuth2Client, PushingOAuth2Client}
        plain = plain and client.access_token_method == "POST"  # noqa: S105 - a verb
        with reject_unreadable():
            if not plain or configured is None:
                return super().get_access_token_data(request, app, client, pkce_code_verifier)
            form = {
                "grant_type": "authorization_code",
                "code": request.GET["code"],
                "redirect_uri": client.callback_url,
            }
            if pkce_code_verifier:
                form["code_verifier"] = pkce_code_verifier
            self._dpop_key = dpop.new_dpop_key() if configured.dpop else None
            found = self._metadata(configured)
            response = token_endpoint.request_tokens(
                configured, found, form, clock=self._clock, dpop_key=self._dpop_key
            )
            self.did_fetch_access_token = True
            tokens = response.parse_tokens()
        if self._dpop_key is not None and not dpop.is_dpop_bound(str(tokens.get("token_type"))):
            # RFC 9449 section 5: a client that requires bound tokens discards unbound ones.
            raise ProviderRefused(dpop.NOT_BOUND, Code.TOKEN_NOT_BOUND)
        return tokens

    def _metadata(self, provider: ProviderConfig) -> Metadata:
        # As allauth does for providers without discovery, and as they document.
        return Metadata(
            issuer=None,
            token_endpoint=self.access_token_url,
            auth_methods=(POST,),
            reach=metadata.reach_of(provider),
        )

    def parse_token(self, data: Mapping[str, Any]) -> SocialToken:
        """Leave the token's expiry to `TokenSet`: allauth parses only integers."""
        with reject_unreadable():
            return super().parse_token({**data, self.expires_in_key: None})

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        with reject_unreadable():
            try:
                login = super().complete_login(request, app, token, **kwargs)
            except ImproperlyConfigured:  # allauth raises this for a subject that is too long
                raise ProviderRefused(
                    "The account's identifier is too long.", Code.SUBJECT
                ) from None
            if login.account.uid == str(None):  # how allauth reads null
                raise ProviderRefused(
                    "The response does not say whose account it is.", Code.SUBJECT
                )
            check_account_text(login.account)
            if not accounts.is_subject(login.account.uid):
                raise ProviderRefused(
                    "The account's identifier has spaces around it, or unprintable characters.",
                    Code.SUBJECT,
                )
            token_set = TokenSet.from_response(
                kwargs["response"],
                subject=login.account.uid,
                client_id=app.client_id,
                requested_scope=tuple(self.get_provider().get_scope()),
                now=int(self._clock()),
                source=self.get_provider().sub_id,
                dpop_key=self._dpop_key,
            )
        login.token_set = token_set = self._admitted(login, token_set)
        if token_set.is_too_large:
            provider = self.get_provider().sub_id
            user_id = _owner_of(provider, token_set)
            reject_large_tokens(self.request, provider, token_set, user_id)
        for address in login.email_addresses:
            address.verified = is_true(address.verified)
        return login

    def _admitted(self, login: SocialLogin, token_set: TokenSet) -> TokenSet:
        """Return the token set of an account that may sign in. Raises SignInRefused.

        This runs before allauth reads or writes the account in the database. Nobody will use the
        new grant of a rejected account, so it is revoked at the end of the request.
        """
        __traceback_hide__ = True
        configured = config.find_provider(self.get_provider().sub_id)
        if configured is None:
            return token_set
        token_set = replace(token_set, resource=configured.resource)
        try:
            return decision.admit_sign_in(configured, login.account.extra_data, token_set)
        except SignInRefused:
            user_id = _owner_of(configured.name, token_set)
            revoke_unused(self.request, configured.name, token_set, user_id)
            raise


def _owner_of(provider: str, token_set: TokenSet) -> str | None:
    """Return the id of the user who has connected the account of a token set, if anybody has."""
    account = accounts.find_account(provider, token_set.subject)
    return None if account is None else user_id_of(account.user)


def add_resource(provider: OAuth2Provider, resource: str) -> None:
    """Add the resource to a provider's authorization requests (RFC 8707 section 2.1)."""
    auth_params = provider.get_auth_params
    provider.get_auth_params = lambda: {**auth_params(), "resource": resource}
