"""`POST /oauth/register`: a client describes itself, and gets an id that says the same.

RFC 7591. Nothing is stored, so a flood of it leaves nothing behind.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse

from oauth.clients.endpoints import bodies
from oauth.clients.endpoints.answers import for_programs, json_answer
from oauth.clients.rules import strict_json
from oauth.clients.rules.refusal import INVALID_CLIENT_METADATA, Refused
from oauth.clients.rules.registration import registered
from oauth.clients.server import authorization_server


@for_programs("POST")
def register(request: HttpRequest) -> HttpResponse:
    """Register a client; 404 where no client may register itself."""
    server = authorization_server()
    if not server.registration:
        raise Http404
    text = bodies.text_of(request, bodies.JSON)
    try:
        metadata = strict_json.loads(text)
    except strict_json.InvalidJSON:
        raise Refused(INVALID_CLIENT_METADATA, "The request is not valid JSON.") from None
    return json_answer(registered(metadata, server.redirect_uris), status=201)
