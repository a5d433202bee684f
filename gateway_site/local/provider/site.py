"""The provider's site: allauth's sign-in and OpenID Connect, two people and one client.

There is no sign-up, no password reset and no device flow.
"""

from functools import wraps
from pathlib import Path
from urllib.parse import urlencode

from allauth.account import views as account
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from allauth.idp.oidc.models import Client
from allauth.idp.oidc.views import authorization
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import include, path
from django.views.generic import TemplateView

from gateway_site.local.provider import PEOPLE, Person, settings

PKCE_REQUIRED = "code_challenge with code_challenge_method=S256 is required (RFC 7636)."

STATIC = Path(__file__).resolve().parents[2] / "static"  # the gateway's, for the same look

login = account.LoginView.as_view(extra_context={"people": PEOPLE})


def static_file(request: HttpRequest, name: str, kind: str) -> HttpResponse:
    """Return one of the gateway's static files."""
    return HttpResponse((STATIC / name).read_bytes(), content_type=kind)


# `wraps` copies allauth's csrf_exempt mark: the view checks the consent form itself.
@wraps(authorization)
def authorize(request: HttpRequest) -> HttpResponseBase:
    """Accept only requests with a registered redirect URI and an S256 challenge.

    allauth requires PKCE only from public clients, accepts `plain`, and accepts any port in a
    redirect URI on 127.0.0.1. A POST needs no check: its data was signed by a checked GET.
    """
    if request.method != "POST":
        redirect_uri = _get_parameter(request, "redirect_uri")
        if not _is_registered(_get_parameter(request, "client_id"), redirect_uri):
            return _reject_client(request)
        if _get_parameter(request, "code_challenge_method") != "S256" or not _get_parameter(
            request, "code_challenge"
        ):
            return _require_pkce(redirect_uri, _get_parameter(request, "state"))
    response: HttpResponseBase = authorization(request)
    return response


def _get_parameter(request: HttpRequest, name: str) -> str:
    """Return the parameter's value, or "" if it is repeated (RFC 6749 section 3.1)."""
    values = request.GET.getlist(name)
    return values[0] if len(values) == 1 else ""


def _is_registered(client_id: str, redirect_uri: str) -> bool:
    client = Client.objects.filter(pk=client_id).first()
    return client is not None and redirect_uri in client.get_redirect_uris()


def _reject_client(request: HttpRequest) -> HttpResponse:
    error = {"description": "This client, or its redirect URI, is not registered here."}
    return render(request, "idp/oidc/error.html", {"error": error}, status=400)


def _require_pkce(redirect_uri: str, state: str) -> HttpResponse:
    """Send the client the error `invalid_request` (RFC 7636 section 4.4.1)."""
    parameters = {"error": "invalid_request", "error_description": PKCE_REQUIRED}
    if state:
        parameters["state"] = state
    separator = "&" if "?" in redirect_uri else "?"
    return HttpResponseRedirect(f"{redirect_uri}{separator}{urlencode(parameters)}")


urlpatterns = [
    path("", TemplateView.as_view(template_name="index.html"), name="index"),
    path("style.css", static_file, {"name": "gateway.css", "kind": "text/css"}, name="style"),
    path("logo.svg", static_file, {"name": "gateway.svg", "kind": "image/svg+xml"}, name="logo"),
    path("login/", login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("identity/o/authorize", authorize),  # before allauth's own
    path("", include("allauth.idp.urls")),
]


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth is untyped
    """Disables sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class OIDCAdapter(DefaultOIDCAdapter):  # type: ignore[misc]  # allauth is untyped
    """Announces only the features that the client may use."""

    def populate_server_metadata(self, data: dict[str, str | list[str]]) -> None:
        """Remove the features of allauth that this provider does not offer."""
        data.pop("device_authorization_endpoint", None)
        data["grant_types_supported"] = ["authorization_code", "refresh_token"]
        data["response_types_supported"] = ["code"]


class QuickHasher(PBKDF2PasswordHasher):
    """PBKDF2 with one round, for secrets that need no protection against guessing.

    Otherwise, each token request would take a third of a second for this.
    """

    algorithm = "quick"
    iterations = 1


def create_rows() -> None:
    """Create the people and the client if they are missing; runs after `migrate`."""
    for person in PEOPLE:
        _ensure_person(person)
    _ensure_client()


def _ensure_person(person: Person) -> None:
    user, created = User.objects.get_or_create(
        username=person.username,
        defaults={
            "pk": person.subject,
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
        },
    )
    # Setting the same password again would end the person's sessions, which hold its hash.
    if created or not user.check_password(person.password):
        user.set_password(person.password)
        user.save()
    EmailAddress.objects.update_or_create(
        user=user, email=person.email, defaults={"verified": True, "primary": True}
    )


def _ensure_client() -> None:
    client = Client.objects.filter(pk=settings.CLIENT_ID).first() or Client(id=settings.CLIENT_ID)
    client.name = "The gateway on this machine"
    if not client.check_secret(settings.CLIENT_SECRET):
        client.set_secret(settings.CLIENT_SECRET)
    client.set_scopes(["openid", "profile", "email"])
    client.set_default_scopes(["openid"])
    client.set_grant_types([Client.GrantType.AUTHORIZATION_CODE, Client.GrantType.REFRESH_TOKEN])
    client.set_response_types([Client.ResponseType.CODE])
    client.set_redirect_uris(settings.REDIRECT_URIS)
    client.set_post_logout_redirect_uris(settings.POST_LOGOUT_REDIRECT_URIS)
    client.save()
