"""Content-Security-Policy as django-csp sends it, which builds it anew, twice, for each answer.

Here the policy of the settings is built once. Whatever changes it for one answer, a decorator or a
nonce, goes django-csp's way.
"""

from __future__ import annotations

from functools import cached_property

from csp.constants import HEADER
from csp.middleware import CheckableLazyObject, CSPMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

# A link to one of our pages cannot scroll it to where its explanation is out of view.
# https://wicg.github.io/document-policy/, https://wicg.github.io/scroll-to-text-fragment/
UPSTREAMS = "/gateway/"  # whose pages are not ours
DOCUMENT_POLICY, LOAD_AT_TOP = "Document-Policy", "force-load-at-top"
OF_ONE_ANSWER = "_csp_"  # how its decorators' marks on a response begin
NONCE = "_csp_nonce"  # of a request, once something asked for it


class ContentPolicyMiddleware(CSPMiddleware):
    """Gives answers the header of the settings' policy."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Set the header, unless the answer has one or is exempt."""
        if not request.path_info.startswith(UPSTREAMS):
            response.headers.setdefault(DOCUMENT_POLICY, LOAD_AT_TOP)
        if settings.DEBUG or hasattr(request, NONCE) or _is_marked(response):
            return super().process_response(request, response)
        for name, value in self._usual.items():
            if name not in response:
                response[name] = value
        setattr(request, "csp_nonce", self._too_late)  # noqa: B010 - for mypy it has none
        return response

    @cached_property
    def _usual(self) -> dict[str, str]:
        """The headers that an answer gets about which nothing is special."""
        plain = super().process_response(HttpRequest(), HttpResponse())
        return {name: value for name, value in plain.items() if name.startswith(HEADER)}

    @cached_property
    def _too_late(self) -> CheckableLazyObject:
        """Raise CSPNonceError when it is looked at: the header would not have this nonce."""
        return CheckableLazyObject(self._csp_nonce_post_response)


def _is_marked(response: HttpResponseBase) -> bool:
    return bool([name for name in vars(response) if name.startswith(OF_ONE_ANSWER)])
