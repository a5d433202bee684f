"""A provider that checks redirect URIs, shows pages, and may require pushed requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.oauth.support.fake_provider import Answer
from tests.oauth.support.logout_provider import LogoutProvider


@dataclass
class AskingProvider(LogoutProvider):
    """Shows a page for requests without `prompt=none`."""

    redirect_uris: set[str] = field(default_factory=set)
    knows_prompt: bool = True
    prompt_status: int | None = None  # of the response to `prompt=none`, pushed or not
    signs_in_first: bool = False  # without `prompt=none`, for any request
    wants_pushed: bool = False
    pushed: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # the paths of all requests
    resources: set[tuple[str, str | None]] = field(default_factory=set)  # of these paths

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        self.asked.append(path)
        if parameters:
            self.resources.add((path, parameters.get("resource")))
        return super().respond(path, parameters, authorization)

    def authorize(self, query: dict[str, str]) -> Answer:
        if self.wants_pushed:
            query = self.pushed.get(query.get("request_uri", ""), {})
        if self.signs_in_first and "prompt" not in query:
            return 200, "text/html", b"who is there?"
        if query.get("redirect_uri") not in self.redirect_uris:
            return 400, "text/html", b"no such redirect URI"
        if query.get("prompt") == "none" and self.prompt_status is not None:
            return self.prompt_status, "text/html", b"an error of its own"
        if query.get("prompt") == "none" and self.knows_prompt:
            told = urlencode({"error": "login_required", "state": query["state"]})
            return 302, f"{query['redirect_uri']}?{told}", b""
        return 200, "text/html", b"who is there?"

    def answer(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        if path != "/par":
            return super().answer(path, parameters, authorization)
        if not self._authenticated(parameters, authorization):
            return 401, "application/json", b'{"error": "invalid_client"}'
        if parameters.get("redirect_uri") not in self.redirect_uris:
            return 400, "application/json", b'{"error": "invalid_request"}'
        if parameters.get("prompt") == "none" and self.prompt_status is not None:
            return self.prompt_status, "text/html", b"an error of its own"
        uri = f"urn:ietf:params:oauth:request_uri:{self._secret()}"
        self.pushed[uri] = parameters
        return 201, "application/json", json.dumps({"request_uri": uri, "expires_in": 60}).encode()
