"""The pages that a person sees: the consent page, and the one that returns to the client.

The consent page separates what a client claims from what is verified: who verified the name, and
where the response goes, which no client can choose freely.

The authorization response is a page with a link, never a redirect. Chromium applies the policy of a
form (`form-action`) to every redirect after it, so the policy would have to list the client's host,
and all hosts to which that one redirects. A page may navigate anywhere. The parameter `iss` tells
the client which server responds (RFC 9207).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlencode

from allauth.account.utils import user_display
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext, gettext_noop, npgettext_lazy
from django.utils.translation import gettext_lazy as _

from oauth.clients import wanted_scopes
from oauth.clients.consent import GrantLabels, describe_app
from oauth.clients.live_grants import LIVE_MAX
from oauth.clients.rules import names, redirect_uris, resources
from oauth.clients.rules.authorization_request import AuthorizationRequest
from oauth.clients.rules.client import Client
from oauth.clients.rules.errors import RequestRejected
from oauth.clients.sealed_grant import IssuedCode
from oauth.clients.server import AuthorizationServer
from oauth.clients.server_terms import ServerTerms, known_terms
from oauth.connect.failures import private
from oauth.mcp.servers import find_server
from oauth.provider import config
from oauth.sign_in import prompts, views
from sessions_kms.services import services

logger = logging.getLogger(__name__)

UPSTREAM_FIELD = "upstream"  # form field, present if the person has to choose one
NO_CHOICE = _("Nothing was allowed yet. Please choose what the app may use, then confirm again.")
UNIT_SECONDS = (86_400, 3600, 60, 1)
UNITS = (
    npgettext_lazy("after … without a call", "%(number)d day", "%(number)d days", "number"),
    npgettext_lazy("after … without a call", "%(number)d hour", "%(number)d hours", "number"),
    npgettext_lazy("after … without a call", "%(number)d minute", "%(number)d minutes", "number"),
    npgettext_lazy("after … without a call", "%(number)d second", "%(number)d seconds", "number"),
)
# Rejections that name a parameter; the catalogs have the others from where they are raised.
MISSING = (
    gettext_noop("The parameter client_id is missing."),
    gettext_noop("The parameter redirect_uri is missing."),
)


@dataclass(frozen=True)
class ConsentRequest:
    """A valid request of a client; ``choices`` are the upstreams that it may be about."""

    server: AuthorizationServer
    client: Client
    auth_request: AuthorizationRequest
    choices: tuple[str, ...]


@dataclass(frozen=True)
class UpstreamChoice:
    """An upstream that fits the request, as the consent page shows it.

    ``terms`` are those of an MCP server, which the person connects in the course of the consent, so
    it needs no account.
    """

    upstream: str
    address: str
    provider: str
    accounts: list[str]
    prompts: bool
    connect_url: str = ""
    terms: ServerTerms | None = None
    tools: tuple[str, ...] | None = None  # to which rules or pins restrict it; None: all

    @property
    def is_allowable(self) -> bool:
        """Return True if the person may choose it now."""
        return bool(self.accounts) or self.terms is not None


def consent_page(
    request: HttpRequest,
    asked: ConsentRequest,
    *,
    notice: str = "",
    wanted: Mapping[str, tuple[str, ...]] | None = None,
    terms: Mapping[str, ServerTerms] | None = None,
) -> HttpResponse:
    """Return the consent page; a ``notice`` explains why the previous decision was not accepted.

    ``wanted`` is the result of `find_wanted`, if it is known; ``terms`` are those of upstreams that
    have just been asked for them. Raises StoreUnavailable.
    """
    client, auth_request = asked.client, asked.auth_request
    if wanted is None:
        wanted = find_wanted(request, asked)
    known = _known_terms(asked, wanted) | dict(terms or {})
    upstreams = _describe_upstreams(request, asked, known)
    context = {
        "client": client,
        "source": client.source.value,
        "name_warning": names.name_warning(client.name),
        "place": describe_destination(auth_request.redirect_uri),
        "destination": redirect_uris.authority_of(auth_request.redirect_uri),
        "is_loopback": redirect_uris.is_loopback(auth_request.redirect_uri),
        "is_private": not auth_request.redirect_uri.startswith(("http://", "https://")),
        "choices": upstreams,
        "only": upstreams[0] if len(upstreams) == 1 else None,
        "is_allowable": any(each.is_allowable for each in upstreams),
        "to_connect": {each.provider: each for each in upstreams if not each.is_allowable}.values(),
        "person": user_display(request.user),
        "notice": notice,
        "ends_at": _grant_end(),
        "idle": _format_duration(settings.SESSION_COOKIE_AGE),
        "address": request_url(request),
        "connect": {
            "process": AuthProcess.CONNECT,
            REDIRECT_FIELD_NAME: request_url(request),
        },
    }
    return render(request, "oauth/clients/consent.html", context)


def find_wanted(request: HttpRequest, asked: ConsentRequest) -> dict[str, tuple[str, ...]]:
    """Return the scopes that MCP servers demanded of this app, by upstream.

    Has all upstreams that are MCP servers, and reads the person's grants once. Raises
    StoreUnavailable.
    """
    client, redirect_uri = asked.client, asked.auth_request.redirect_uri
    apps = {
        upstream: describe_app(client.name, client.host, redirect_uri, upstream)
        for upstream in asked.choices
        if find_server(asked.server.upstreams[upstream]) is not None
    }
    return wanted_scopes.find_wanted(request.session, str(request.user.pk), apps)


def _known_terms(
    asked: ConsentRequest, wanted: Mapping[str, tuple[str, ...]]
) -> dict[str, ServerTerms]:
    """Return the terms of those upstreams that are MCP servers, without asking these."""
    return {
        upstream: known_terms(mcp_server, scopes)
        for upstream, scopes in wanted.items()
        if (mcp_server := find_server(asked.server.upstreams[upstream])) is not None
    }


def _describe_upstreams(
    request: HttpRequest, asked: ConsentRequest, terms: Mapping[str, ServerTerms]
) -> list[UpstreamChoice]:
    """Return the upstreams for the consent page; reads each provider's accounts only once."""
    server = asked.server
    providers = {server.upstreams[each] for each in asked.choices if each not in terms}
    accounts = {each: accounts_of(request, each) for each in providers}
    described = []
    for upstream in asked.choices:
        provider_id = server.upstreams[upstream]
        if upstream in terms:
            described.append(
                _describe_server(
                    server, upstream, terms[upstream], _tools_of(request, asked, upstream)
                )
            )
            continue
        provider, of_allauth = (
            config.find_provider(provider_id),
            views.get_provider_or_404(request, provider_id),
        )
        described.append(
            UpstreamChoice(
                upstream=upstream,
                address=resources.resource_of(server.issuer, upstream),
                provider=provider.label if provider else provider_id,
                accounts=accounts[provider_id],
                prompts=prompts.prompts_after_consent(of_allauth),
                connect_url=of_allauth.get_login_url(request),
                tools=_tools_of(request, asked, upstream),
            )
        )
    return described


def _describe_server(
    server: AuthorizationServer,
    upstream: str,
    terms: ServerTerms,
    tools: tuple[str, ...] | None,
) -> UpstreamChoice:
    return UpstreamChoice(
        upstream=upstream,
        address=resources.resource_of(server.issuer, upstream),
        provider=terms.server.label,
        accounts=[],
        prompts=True,
        terms=terms,
        tools=tools,
    )


def _tools_of(request: HttpRequest, asked: ConsentRequest, upstream: str) -> tuple[str, ...] | None:
    """Return the tools that the client may use of an upstream, as far as the project knows them."""
    find = asked.server.find_tools
    return None if find is None else find(request, asked.client, upstream)


def confirm_fetch_page(request: HttpRequest, host: str) -> HttpResponse:
    """Return the page that asks before a client's document is fetched from its host."""
    context = {"host": host, "address": request_url(request)}
    return render(request, "oauth/clients/before_fetch.html", context)


def accounts_of(request: HttpRequest, provider_id: str) -> list[str]:
    """Return the display names of the person's accounts at a provider.

    A consent needs at least one: the grant gets the tokens of the account that the person then
    signs in with.
    """
    accounts = SocialAccount.objects.filter(user=request.user.pk, provider=provider_id)
    return [str(each.get_provider_account()) for each in accounts.order_by("pk")]


def describe_destination(redirect_uri: str) -> str:
    """Return the destination of the response for display: host and port, in ASCII."""
    if redirect_uris.is_loopback(redirect_uri):
        return gettext("this computer")
    scheme = redirect_uri.partition(":")[0]
    host = redirect_uris.authority_of(redirect_uri)
    return host if scheme == "https" else f"{scheme}://{host}"


def _grant_end() -> datetime:
    """Return the latest time at which the grant will end."""
    current_services = services()
    return datetime.fromtimestamp(current_services.clock() + current_services.config.grant_age, UTC)


def _format_duration(seconds: int) -> str:
    """Format a duration in its largest whole unit, as part of "after … without a call"."""
    units = zip(UNIT_SECONDS, UNITS, strict=True)
    size, unit = next((each for each in units if seconds >= each[0]), (1, UNITS[-1]))
    return unit % {"number": seconds // size}


def code_response(
    request: HttpRequest,
    issuer: str,
    client: Client,
    auth_request: AuthorizationRequest,
    issued_code: IssuedCode,
) -> HttpResponse:
    """Return the page that sends a code to the client.

    It continues automatically, unless it has to tell the person that another app was signed out.
    """
    __traceback_hide__ = True
    address = _response_url(issuer, auth_request, {"code": issued_code.code})
    return _response_page(
        request,
        client,
        auth_request,
        address,
        is_led=not issued_code.ended,
        ended=issued_code.ended,
    )


def error_response(
    request: HttpRequest,
    server: AuthorizationServer,
    client: Client,
    auth_request: AuthorizationRequest,
    why: RequestRejected,
) -> HttpResponse:
    """Return the page that sends an error to the client.

    It continues automatically only to trusted addresses; otherwise it shows the host and a link.
    """
    logger.info("An authorization request was refused (%s): %s", why.code, why.description)
    error = {"error": why.code, "error_description": why.description}
    is_led = server.may_redirect(client, auth_request.redirect_uri)
    address = _response_url(server.issuer, auth_request, error)
    return _response_page(request, client, auth_request, address, is_led=is_led, why=why)


def rejection_page(
    request: HttpRequest, why: str, status: HTTPStatus, supported: Sequence[str] = ()
) -> HttpResponse:
    """Return an error page for the person; the client is not informed.

    ``supported`` are the client's authentication methods, if that is the reason.
    """
    context = {
        "why": why,
        "status": int(status),
        "supported": ", ".join(supported),
        "is_temporary": status == HTTPStatus.SERVICE_UNAVAILABLE,
    }
    return private(render(request, "oauth/clients/refused.html", context, status=status))


def _response_page(
    request: HttpRequest,
    client: Client,
    auth_request: AuthorizationRequest,
    address: str,
    *,
    is_led: bool,
    why: RequestRejected | None = None,
    ended: Sequence[GrantLabels] = (),
) -> HttpResponse:
    __traceback_hide__ = True
    context = {
        "client": client,
        "address": address,
        "is_led": is_led,
        "place": describe_destination(auth_request.redirect_uri),
        "why": why,
        "ended": ended,
        "most": LIVE_MAX,
    }
    status = HTTPStatus.OK if is_led or not why else HTTPStatus.BAD_REQUEST
    return private(render(request, "oauth/clients/way_back.html", context, status=status))


def _response_url(
    issuer: str, auth_request: AuthorizationRequest, parameters: dict[str, str]
) -> str:
    __traceback_hide__ = True
    state = {} if auth_request.state is None else {"state": auth_request.state}
    query = urlencode(parameters | state | {"iss": issuer})
    joint = "&" if "?" in auth_request.redirect_uri else "?"
    return f"{auth_request.redirect_uri}{joint}{query}"


def request_url(request: HttpRequest) -> str:
    """Return the path and query of the authorization request."""
    return f"{request.path}?{request.META['QUERY_STRING']}"
