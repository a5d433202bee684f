"""allauth's sign-in page, which tells who there is, and its authorization endpoint.

The latter is for requests that use PKCE as OAuth 2.1 asks.
"""

from functools import wraps
from pathlib import Path
from urllib.parse import urlencode

from allauth.account.views import LoginView
from allauth.idp.oidc.models import Client
from allauth.idp.oidc.views import authorization
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render

from gateway_site.local.people import PEOPLE

PKCE_REQUIRED = "code_challenge with code_challenge_method=S256 is required (RFC 7636)."

STATIC = Path(__file__).resolve().parents[2] / "static"  # the gateway's: both look alike

login = LoginView.as_view(extra_context={"people": PEOPLE})


def static_file(request: HttpRequest, name: str, kind: str) -> HttpResponse:
    """Return a static file of the gateway."""
    return HttpResponse((STATIC / name).read_bytes(), content_type=kind)


# `wraps` carries allauth's csrf_exempt mark: the view checks the consent form itself.
@wraps(authorization)
def authorize(request: HttpRequest) -> HttpResponseBase:
    """Let a request through that has a registered redirect URI and an S256 challenge.

    allauth demands PKCE of public clients only, accepts `plain`, and takes any port of a
    redirect URI on 127.0.0.1. A POST needs no check: it carries what a checked GET signed.
    """
    if request.method != "POST":
        redirect_uri = _only(request, "redirect_uri")
        if not _is_registered(_only(request, "client_id"), redirect_uri):
            return _refuse_to_redirect(request)
        if _only(request, "code_challenge_method") != "S256" or not _only(
            request, "code_challenge"
        ):
            return _pkce_required(redirect_uri, _only(request, "state"))
    response: HttpResponseBase = authorization(request)
    return response


def _only(request: HttpRequest, name: str) -> str:
    """Return the parameter's value, or nothing when it is repeated (RFC 6749 section 3.1)."""
    values = request.GET.getlist(name)
    return values[0] if len(values) == 1 else ""


def _is_registered(client_id: str, redirect_uri: str) -> bool:
    client = Client.objects.filter(pk=client_id).first()
    return client is not None and redirect_uri in client.get_redirect_uris()


def _refuse_to_redirect(request: HttpRequest) -> HttpResponse:
    error = {"description": "This client, or its redirect URI, is not registered here."}
    return render(request, "idp/oidc/error.html", {"error": error}, status=400)


def _pkce_required(redirect_uri: str, state: str) -> HttpResponse:
    """RFC 7636 section 4.4.1: the error goes back to the client as `invalid_request`."""
    answer = {"error": "invalid_request", "error_description": PKCE_REQUIRED}
    if state:
        answer["state"] = state
    separator = "&" if "?" in redirect_uri else "?"
    return HttpResponseRedirect(f"{redirect_uri}{separator}{urlencode(answer)}")
