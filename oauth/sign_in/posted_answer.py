"""A provider's answer that comes as a form (OAuth 2.0 Form Post Response Mode).

The browser posts it from the provider's page, and sends no `SameSite=Lax` cookie with a
POST from another site. So nothing is signed in here: what the callback needs leads on to it,
by a GET of our own to which the browser adds the cookies again. The rest is dropped, such as
the name that Apple lets the browser say: anybody could have written it.

https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from oauth.network.posted_form import fields_of

PASSED_ON = ("code", "state", "error", "iss")  # RFC 9207 names the last
VALUE_MAX = 2048  # characters


def led_on(request: HttpRequest) -> HttpResponse:
    """Return the way to the callback, or 400; neither reads nor makes a session."""
    try:
        fields = fields_of(request)
    except ValueError:
        return HttpResponse("This is no answer of a provider.", "text/plain", 400)
    kept = {name: fields[name] for name in PASSED_ON if name in fields}
    if any(len(values) > 1 or len(values[0]) > VALUE_MAX for values in kept.values()):
        return HttpResponse("This is no answer of a provider.", "text/plain", 400)
    query = urlencode({name: values[0] for name, values in kept.items()})
    answer = HttpResponseRedirect(f"{request.path}?{query}")
    answer.status_code = HTTPStatus.SEE_OTHER
    return answer
