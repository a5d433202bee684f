"""System checks of the project: missing or risky environment variables, and a wrong `runserver`."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.db import DatabaseError, connections

from gateway_site.forwarding.calls.middleware_check import unseen_middleware
from sessions_kms.hints import command, page


@register
def check_required_variables(**_: Any) -> Iterator[CheckMessage]:
    """Report every required variable that is missing."""
    for name in settings.MISSING_VARIABLES:
        yield Error(
            f"The environment variable {name} is missing.",
            hint=f"{page('settings')} describes it. `{command('runlocal')}` needs no variable.",
            id="gateway_site.E001",
        )


@register(Tags.security)
def check_middleware_of_calls(**_: Any) -> Iterator[CheckMessage]:
    """Report middleware of a project's own: it would reject pages, and let calls pass."""
    for name in unseen_middleware():
        yield Error(
            f"{name} in MIDDLEWARE does not see calls of upstreams.",
            hint="If it concerns pages only, name it in MIDDLEWARE_OF_PAGES as well. Otherwise "
            "put an ASGI middleware around gateway_site.asgi.application.",
            id="gateway_site.E006",
        )


@register(Tags.security, deploy=True)
def check_any_provider(**_: Any) -> Iterator[CheckMessage]:
    """Warn if no provider is configured."""
    if not settings.OAUTH_PROVIDERS:
        yield checks.Warning(
            "No OAuth provider is configured: nobody can sign in.",
            hint=f"Set OAUTH_<NAME>_CLIENT_ID and the variables in {page('providers')}.",
            id="gateway_site.W002",
        )


@register(Tags.security)
def check_open_providers(**_: Any) -> Iterator[CheckMessage]:
    """Warn of providers with which every account may sign in, unless that is configured."""
    for name in getattr(settings, "OPEN_PROVIDERS", []):
        yield checks.Warning(
            f"Everybody with an account at {name} may sign in.",
            hint=f"Set OAUTH_{name.upper()}_ALLOWED_DOMAINS or another list of "
            f"{page('who-may-sign-in')}. If everybody is meant, set it to *.",
            id="gateway_site.W008",
        )


@register
def check_upstream_providers(**_: Any) -> Iterator[CheckMessage]:
    """Reject an upstream whose provider is not configured: there would be no token for it."""
    names = sorted(provider.name for provider in getattr(settings, "OAUTH_PROVIDERS", []))
    for upstream in getattr(settings, "UPSTREAMS", {}).values():
        if not upstream.mcp and upstream.provider not in names:
            yield Error(
                f"UPSTREAM_{upstream.name.upper()}_PROVIDER is {upstream.provider!a}, which is no"
                f" configured provider ({', '.join(names) or 'there is none'}).",
                hint="Name a configured one, or set OAUTH_<NAME>_CLIENT_ID of another.",
                id="gateway_site.E005",
            )


@register(Tags.security)
def check_identity_headers(**_: Any) -> Iterator[CheckMessage]:
    """Warn of a header that anyone can send, and an upstream may believe to be a proxy's."""
    for upstream in getattr(settings, "UPSTREAMS", {}).values():
        for entry in upstream.request_headers.doubtful:
            yield checks.Warning(
                f"UPSTREAM_{upstream.name.upper()}_REQUEST_HEADERS has {entry}: everybody who is "
                "signed in can send it. The upstream may believe that it names the caller.",
                hint="Remove it, unless the upstream goes by the token alone. In place of x-*, "
                "name each header that it needs.",
                id="gateway_site.W006",
            )


@register(Tags.security)
def check_client_address(**_: Any) -> Iterator[CheckMessage]:
    """Warn if an upstream would get a proxy's address instead of the client's."""
    if not settings.SECURE_PROXY_SSL_HEADER or settings.TRUSTED_PROXIES:
        return
    for upstream in getattr(settings, "UPSTREAMS", {}).values():
        if upstream.client_address:
            yield checks.Warning(
                f"UPSTREAM_{upstream.name.upper()}_CLIENT_ADDRESS is set, but TRUSTED_PROXIES does "
                "not name the proxy in front: the upstream gets the proxy's address instead.",
                hint="Set TRUSTED_PROXIES to the proxy's address or network.",
                id="gateway_site.W009",
            )


@register(Tags.security)
def check_audiences(**_: Any) -> Iterator[CheckMessage]:
    """Warn of upstreams that accept each other's tokens, since these name the same audience."""
    named: dict[str, list[str]] = {}
    for upstream in getattr(settings, "UPSTREAMS", {}).values():
        if upstream.identity is not None:
            named.setdefault(upstream.identity.audience, []).append(upstream.name)
    for names in named.values():
        if len(names) > 1:
            yield checks.Warning(
                f"The upstreams {', '.join(names)} have the same audience in identity tokens: each "
                "can use at the others what it receives.",
                hint="Set UPSTREAM_<NAME>_AUDIENCE to a different value for each.",
                id="gateway_site.W012",
            )


@register
def check_clients(**_: Any) -> Iterator[CheckMessage]:
    """Warn if OAuth clients are allowed, but cannot register, or have nothing to call."""
    server = getattr(settings, "AUTHORIZATION_SERVER", None)
    if server is None:
        return
    if not server.upstreams:
        yield checks.Warning(
            "AUTHORIZATION_ISSUER is set, but no upstream is offered to clients.",
            hint="Set UPSTREAM_<NAME>_CLIENTS=1 for each that they may call.",
            id="gateway_site.W010",
        )
    if not (server.metadata_documents or server.registration or server.listed):
        yield checks.Warning(
            "Upstreams are offered to OAuth clients, but no client can become known.",
            hint="Set CLIENTS_METADATA_DOCUMENTS=1, CLIENTS_REGISTRATION=1 or CLIENTS_FILE; "
            "most MCP clients need the first or the second.",
            id="gateway_site.W011",
        )


@register(Tags.security, deploy=True)
def check_not_local(**_: Any) -> Iterator[CheckMessage]:
    """Reject a deployment with the relaxed settings of a local run."""
    if settings.GATEWAY_LOCAL:
        yield Error(
            f"GATEWAY_LOCAL is set: it is for `{command('runlocal')}` only.", id="gateway_site.E003"
        )


@register(Tags.database)
def check_databases(databases: Sequence[str] | None = None, **_: Any) -> Iterator[CheckMessage]:
    """Read from the databases that `check --database` names, and report what prevents it."""
    from sessions_kms.management.known_errors import explain  # noqa: PLC0415 - no server needs it

    for alias in databases or ():
        try:
            connections[alias].introspection.table_names()  # SQLite opens its file at a read
        except ImproperlyConfigured as error:
            if not settings.MISSING_VARIABLES:  # otherwise gateway_site.E001 reports it
                yield Error(str(error), id="gateway_site.E007")
        except DatabaseError as error:
            yield Error(explain(error) or str(error), id="gateway_site.E007")


@register
def check_runserver(**_: Any) -> Iterator[CheckMessage]:
    """Reject another app's `runserver`: over WSGI it silently buffers event streams."""
    provider = get_commands()["runserver"]
    if provider != "gateway_site":
        yield Error(
            f"`{command('runserver')}` is that of {provider}, which does not serve ASGI.",
            hint="Put gateway_site before django.contrib.staticfiles in INSTALLED_APPS.",
            id="gateway_site.E004",
        )
