"""Findings of `check_providers` without a sign-in, from providers with one fault each."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from oauth.network import http
from oauth.provider import metadata
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import CLIENT_SECRET, Response
from tests.oauth.support.fixtures import configure, environment
from tests.oauth.support.logout_provider import LogoutProvider
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.stacks import Stack
from tests.support.certificates import server_context
from tests.support.http_server import QuietHandler, TlsServer, serve


@dataclass
class AskingProvider(LogoutProvider):
    """Shows a page for requests without `prompt=none`."""

    redirect_uris: set[str] = field(default_factory=set)
    knows_prompt: bool = True
    prompt_status: int | None = None  # of the response to `prompt=none`, pushed or not
    signs_in_first: bool = False  # without `prompt=none`, for any request
    asked: list[str] = field(default_factory=list)  # the paths of all requests
    resources: set[tuple[str, str | None]] = field(default_factory=set)  # of these paths

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        self.asked.append(path)
        if parameters:
            self.resources.add((path, parameters.get("resource")))
        return super().respond(path, parameters, authorization)

    def authorize(self, query: dict[str, str]) -> Response:
        if self.supports_par:
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

    def push(self, form: dict[str, str], authorization: str) -> Response:
        if self._authenticated(form, authorization):
            if form.get("redirect_uri") not in self.redirect_uris:
                return 400, "application/json", b'{"error": "invalid_request"}'
            if form.get("prompt") == "none" and self.prompt_status is not None:
                return self.prompt_status, "text/html", b"an error of its own"
        return super().push(form, authorization)


SITE = "https://gateway.example.com"
BACK = f"{SITE}/accounts/oidc/corp/login/callback/"


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[AskingProvider]:
    """Serve a provider that nothing is wrong with, but for its plain http."""
    with fake_provider.serving(AskingProvider) as provider:
        provider.clock = store.clock
        provider.redirect_uris = {BACK}
        configure(settings, environment("corp", provider, SINGLE_LOGOUT="1"))
        yield provider


def check(*arguments: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
    """Return the exit status, and each finding's level, detail and remedy."""
    done = run("check_providers", *arguments, "--json", "--url", SITE)
    output: dict[str, Any] = done.json
    found = {
        each["name"]: (each["level"], each["detail"], each["remedy"])
        for each in output["providers"]["corp"]
    }
    assert all(remedy for level, _, remedy in found.values() if level != "ok")
    assert output["ok"] is (done.status != 1)
    return done.status, found


def test_correct_provider_passes(corp: AskingProvider, capfd: Any) -> None:
    status, found = check("corp")
    levels = {name: level for name, (level, _, _) in found.items()}
    assert levels == {
        "metadata": "ok",
        "TLS": "warning",  # plain http
        "clock": "ok",
        "keys": "ok",
        "client": "ok",
        "redirect URI": "ok",
        "back-channel logout": "ok",
        "single logout": "ok",
    }
    assert status == 0
    assert found["redirect URI"][1] == f"{BACK} is accepted"
    assert f"{SITE}/oauth/backchannel-logout/corp" in found["back-channel logout"][1]
    assert f"{SITE}/accounts/logout/done/" in found["single logout"][1]
    assert len(corp.asked) <= 6
    assert check("corp", "--strict")[0] == 4
    output = repr(found) + "".join(capfd.readouterr())
    assert [secret for secret in (CLIENT_SECRET, *corp.secrets) if secret in output] == []


def test_wrong_secret_is_distinguished_from_a_wrong_code(
    corp: AskingProvider, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, CLIENT_SECRET="another-secret"))
    status, found = check()
    level, detail, remedy = found["client"]
    assert (status, level) == (1, "failing")
    assert "token_invalid_client" in detail
    assert "OAUTH_CORP_CLIENT_SECRET" not in detail
    assert "OAUTH_CORP_CLIENT_ID" in remedy
    assert "another-secret" not in repr(found)


def test_provider_that_accepts_any_code_fails(corp: AskingProvider) -> None:
    corp.failing["/token"] = lambda: (200, "application/json", b'{"access_token": "x"}')
    assert check()[1]["client"][0] == "failing"


@pytest.mark.parametrize("knows_prompt", [True, False])
def test_redirect_uri_that_is_not_registered_fails(
    corp: AskingProvider, knows_prompt: bool
) -> None:
    corp.knows_prompt = knows_prompt
    assert check()[1]["redirect URI"][0] == "ok"
    corp.redirect_uris = {f"{BACK}another"}
    level, _, remedy = check()[1]["redirect URI"]
    assert level == "failing"
    assert remedy.endswith(BACK)


def test_redirect_uri_is_unknown_if_the_provider_always_shows_a_page(
    corp: AskingProvider,
) -> None:
    corp.failing["/authorize"] = lambda: (200, "text/html", b"who is there?")
    assert check()[1]["redirect URI"][0] == "warning"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("is_pushed", [False, True])
def test_server_error_for_prompt_none_does_not_fail_a_working_provider(
    corp: AskingProvider, status: int, is_pushed: bool
) -> None:
    corp.prompt_status = status
    corp.supports_par = is_pushed
    corp.more_of_metadata = pushed_request_metadata(corp, is_required=is_pushed)
    assert check()[1]["redirect URI"][0] == "ok"
    corp.redirect_uris = {f"{BACK}another"}
    assert check()[1]["PAR" if is_pushed else "redirect URI"][0] == "failing"


def test_django_oauth_toolkit_passes(corp: AskingProvider) -> None:
    """It answers `prompt=none` with 500, and signs people in before it judges the request."""
    corp.prompt_status = 500
    corp.signs_in_first = True
    status, found = check()
    assert (status, found["redirect URI"][0]) == (0, "warning")
    assert "the same" in found["redirect URI"][1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_error_without_prompt_none_is_inconclusive(
    corp: AskingProvider, status: int
) -> None:
    corp.failing["/authorize"] = lambda: (status, "text/html", b"not now")
    exit_status, found = check()
    level, detail, _ = found["redirect URI"]
    assert (exit_status, level) == (0, "warning")
    assert detail.startswith("cannot tell:")
    assert str(status) in detail
    assert corp.asked.count("/authorize") == 2


def test_server_error_for_the_unregistered_redirect_uri_is_inconclusive(
    corp: AskingProvider,
) -> None:
    corp.knows_prompt = False
    seen = iter([200, 429])
    corp.failing["/authorize"] = lambda: (next(seen), "text/html", b"who is there?")
    level, detail, _ = check()[1]["redirect URI"]
    assert level == "warning"
    assert detail.startswith("cannot tell:")


@pytest.mark.parametrize("knows_prompt", [True, False])
def test_client_that_requires_pushed_requests_is_reported(
    corp: AskingProvider, settings: Settings, knows_prompt: bool
) -> None:
    corp.knows_prompt = knows_prompt
    corp.supports_par = True
    corp.more_of_metadata = pushed_request_metadata(corp, is_required=False)
    exit_status, found = check()
    level, detail, remedy = found["redirect URI"]
    assert (exit_status, level) == (1, "failing")
    assert "requires PAR" in detail
    assert remedy == "Set OAUTH_CORP_PAR=1."
    configure(settings, environment("corp", corp, PAR="1"))
    found = check()[1]
    assert (found["PAR"][0], found["redirect URI"][0]) == ("ok", "ok")


def test_unregistered_redirect_uri_is_not_reported_as_a_fault_of_pushed_requests(
    corp: AskingProvider,
) -> None:
    corp.more_of_metadata = pushed_request_metadata(corp, is_required=False)
    corp.redirect_uris = {f"{BACK}another"}
    level, detail, remedy = check()[1]["redirect URI"]
    assert level == "failing"
    assert "PAR" not in detail
    assert remedy.endswith(BACK)


@pytest.mark.parametrize("status", [301, 302, 307, 429, 500])
def test_redirect_of_the_provider_is_not_followed(corp: AskingProvider, status: int) -> None:
    """A provider cannot make the command call another address."""
    trap = f"{corp.issuer}/trap"
    corp.failing["/authorize"] = lambda: (302 if status < 400 else status, trap, b"")
    corp.more_of_metadata = pushed_request_metadata(corp, is_required=False)
    corp.failing["/par"] = lambda: (status, trap, b"")
    assert check()[1]["redirect URI"][0] != "ok"
    assert "/trap" not in corp.asked


def pushed_request_metadata(corp: AskingProvider, *, is_required: bool) -> dict[str, Any]:
    return {
        "require_pushed_authorization_requests": is_required,
        "pushed_authorization_request_endpoint": f"{corp.issuer}/par",
    }


def test_pushed_request_is_used_if_the_provider_requires_it(corp: AskingProvider) -> None:
    corp.supports_par = True
    corp.more_of_metadata = pushed_request_metadata(corp, is_required=True)
    found = check()[1]
    assert (found["PAR"][0], found["redirect URI"][0]) == ("ok", "ok")
    corp.redirect_uris = set()
    level, detail, _ = check()[1]["PAR"]
    assert level == "failing"
    assert "par_refused" in detail


@pytest.mark.parametrize("resource", [None, "https://mcp.example.com/mcp"])
def test_requests_are_for_the_resource_of_the_upstreams(
    corp: AskingProvider, settings: Settings, resource: str | None
) -> None:
    resources = {} if resource is None else {"corp": resource}
    configure(settings, environment("corp", corp), resources)
    corp.failing["/token"] = lambda: (400, "application/json", b'{"error": "invalid_target"}')
    level, detail, _ = check()[1]["client"]
    assert (level, "token_invalid_target" in detail) == ("warning", True)
    assert corp.resources == {("/authorize", resource), ("/token", resource)}


def test_unsafe_push_endpoint_is_not_called(corp: AskingProvider) -> None:
    corp.more_of_metadata = {
        "require_pushed_authorization_requests": True,
        "pushed_authorization_request_endpoint": "http://evil.example/par",
    }
    level, detail, _ = check()[1]["metadata"]
    assert level == "failing"
    assert "metadata_endpoint" in detail


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (-30, "warning"), (90, "failing")])
def test_clock_is_compared_with_the_provider_s(
    corp: AskingProvider, store: Stack, seconds: int, level: str
) -> None:
    store.clock.advance(seconds)
    assert check()[1]["clock"][0] == level


def test_keys_of_unsupported_types_fail(corp: AskingProvider) -> None:
    corp.failing["/jwks"] = lambda: (200, "application/json", b'{"keys": [{"kty": "oct"}]}')
    level, _, remedy = check()[1]["keys"]
    assert level == "failing"
    assert "P-256" in remedy


def test_logout_enabled_only_here_is_a_warning(corp: AskingProvider, settings: Settings) -> None:
    configure(settings, environment("corp", corp, SINGLE_LOGOUT="1", BACKCHANNEL_LOGOUT="1"))
    corp.announces_backchannel = False
    corp.more_of_metadata = {"end_session_endpoint": None}
    found = check()[1]
    assert (found["back-channel logout"][0], found["single logout"][0]) == ("warning", "warning")


def test_unavailable_metadata_is_the_only_finding(corp: AskingProvider) -> None:
    corp.more_of_metadata = {"issuer": "https://evil.example"}
    status, found = check()
    assert status == 1
    ((name, (level, detail, remedy)),) = found.items()
    assert (name, level) == ("metadata", "failing")
    assert "metadata_issuer" in detail
    assert "OAUTH_CORP_ISSUER" in remedy


def test_unknown_provider_is_rejected_with_the_closest_name(corp: AskingProvider) -> None:
    with pytest.raises(CommandError, match=r"Did you mean corp\?") as raised:
        call_command("check_providers", "crop")
    assert raised.value.returncode == 2
    assert corp.asked == []


def test_untrusted_certificate_is_distinguished_from_a_closed_port(
    corp: AskingProvider, settings: Settings, tmp_path: Path
) -> None:
    context = server_context(tmp_path / "tls.pem")
    with serve(TlsServer(QuietHandler, context)) as server:
        issuer = f"https://127.0.0.1:{server.server_port}"
        configure(settings, environment("corp", corp, ISSUER=issuer))
        assert "(tls)" in check()[1]["metadata"][1]
    metadata.clear_metadata_cache()
    assert "(unreachable)" in check()[1]["metadata"][1]


def test_provider_that_hangs_is_reported_in_time(
    corp: AskingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "GET_TIMEOUT", 0.2)
    end_of_test = threading.Event()

    def hang() -> None:
        end_of_test.wait(10)

    corp.hooks["/.well-known/openid-configuration"] = hang
    try:
        assert "(timeout)" in check()[1]["metadata"][1]
    finally:
        end_of_test.set()
