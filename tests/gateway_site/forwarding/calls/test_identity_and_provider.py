"""What admits and ends calls with identity tokens: the account at the provider, as for others."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_django import Settings

from gateway_site.audit.trail import audit_event
from gateway_site.edge.reports import ExceptionReporter
from gateway_site.identity.keys import load_signing_key
from gateway_site.identity.token import Call, TokenIssuer
from gateway_site.pages import upstreams
from gateway_site.pages.upstreams import TrialResponse
from gateway_site.rules.upstream import find_stored_claims, read_upstreams
from gateway_site.transport import upstream_client
from oauth.clients.server import AuthorizationServer
from oauth.metrics import telemetry as oauth_telemetry
from sessions_kms.telemetry import telemetry as engine_telemetry
from tests.oauth.clients.support.app import ISSUER, SERVER, App, WayBack
from tests.oauth.clients.support.consent import decide
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.github_api import GitHubApi
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case
from tests.support.keys import write_key

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Server:
    """An upstream at the provider's address, and the claims of the tokens that it got."""

    status: int = 200
    seen: list[dict[str, Any]] = field(default_factory=list)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        token = authorization.removeprefix("Bearer ")
        self.seen.append(jwt.decode(token, options={"verify_signature": False}))
        return self.status, "text/plain", b"the server's answer"


@pytest.fixture
def key(tmp_path: Path) -> str:
    return write_key(tmp_path / "key.pem")


def declare(
    settings: Settings, at: FakeProvider, key: str, name: str = "corp", **more: str
) -> Server:
    """Declare the upstream `who`; variables of ``more`` that begin with `TO_` are its own."""
    own = {each.removeprefix("TO_"): more.pop(each) for each in list(more) if each[:3] == "TO_"}
    given = {"URL": at.issuer, "PROVIDER": name, "TOKEN": "identity", "PATHS": "/who"} | own
    variables = {f"UPSTREAM_WHO_{each}": value for each, value in given.items()}
    variables |= environment(name, at, **more)
    settings.UPSTREAMS = read_upstreams(variables)
    settings.IDENTITY_TOKENS = TokenIssuer("https://g.example", load_signing_key(key))
    claims = find_stored_claims(settings.UPSTREAMS.values())
    configure(settings, variables, stored_claims=claims)
    server = Server()
    at.respond_at = server.respond_at  # type: ignore[method-assign]
    return server


def call(visitor: Visitor) -> str:
    """Call it as a browser does, through the whole gateway; return the page with the response."""
    response: Any = visitor.client.get("/try/who/", headers={"Host": "testserver"})
    page: str = response.content.decode()
    return page


def call_as_client(access_token: str) -> TrialResponse:
    """Call it as an OAuth client does, through the whole gateway."""
    path = "/gateway/who/who"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"testserver"),
            (b"authorization", f"Bearer {access_token}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    return async_to_sync(upstreams._call_gateway_in_new_loop)(scope)


def test_claims_of_the_sign_in_are_those_that_the_upstream_is_told(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key, TO_CLAIMS="email,name,groups", TO_ALLOWED_GROUPS="ops")
    corp.more_of_userinfo = {"email_verified": True, "email": "Ada@Example.com"}
    corp.more_of_id_token = {"groups": ["ops", "unnamed"]}
    visitor.sign_in(corp)
    assert "server&#x27;s answer" in call(visitor)
    expected = {
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada Lovelace",
        "groups": ["ops"],
        "sub": "corp|1001",
        "aud": corp.issuer,
    }
    assert server.seen[-1].items() >= expected.items()
    assert "ada" not in repr(stored_tokens(visitor)).lower()
    # A refresh keeps them: its id token may have fewer claims.
    store.clock.advance(3600)
    corp.more_of_id_token = {}
    call(visitor)
    assert corp.refreshes
    assert server.seen[-1].items() >= expected.items()


@each_case(
    ("wanted", "more"),
    [
        ("email,name", {"email_verified": False, "name": ""}),
        ("email,name", {"email_verified": "yes", "name": None}),
        ("email,name", {"email_verified": True, "email": "no address", "name": "a\u202eb"}),
        ("email,name", {"email_verified": True, "email": "", "name": "x" * 201}),
        ("groups", {"email_verified": True}),
        ("", {"email_verified": True}),
    ],
)
def test_unknown_claim_is_absent_and_nothing_is_stored_that_no_upstream_is_told(
    corp: FakeProvider, settings: Settings, tmp_path: Path, wanted: str, more: dict[str, Any]
) -> None:
    visitor = Visitor()
    server = declare(settings, corp, write_key(tmp_path / "key.pem"), TO_CLAIMS=wanted)
    corp.more_of_userinfo = more
    visitor.sign_in(corp)
    call(visitor)
    assert not {"email", "email_verified", "name", "groups"} & server.seen[-1].keys()
    assert not {"email", "name"} & stored_tokens(visitor).to_session().keys()


def test_token_and_claims_are_in_no_span(
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    for each in (engine_telemetry, oauth_telemetry):
        monkeypatch.setattr(each, "_is_enabled", True)
        monkeypatch.setitem(vars(each), "tracer", tracers.get_tracer("tests"))
    server = declare(settings, corp, key, TO_CLAIMS="email,name")
    corp.more_of_userinfo = {"email_verified": True}
    visitor.sign_in(corp)
    for server.status in (200, 500):
        call(visitor)
    tracers.shutdown()
    assert [each["name"] for each in server.seen] == ["Ada Lovelace"] * 2
    spans = "".join(each.to_json() for each in exporter.get_finished_spans())
    assert "sessions_kms load" in spans
    assert not re.search("eyJ|Ada|ada@", spans)


def test_session_from_before_the_variable_has_no_claims(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str
) -> None:
    corp.more_of_userinfo = {"email_verified": True}
    declare(settings, corp, key)
    visitor.sign_in(corp)
    server = declare(settings, corp, key, TO_CLAIMS="email,name")
    call(visitor)
    assert not {"email", "email_verified", "name"} & server.seen[-1].keys()


def test_upstream_is_told_no_claim_that_only_another_one_gets(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str
) -> None:
    declare(settings, corp, key, TO_CLAIMS="email,name,groups", TO_ALLOWED_GROUPS="ops")
    corp.more_of_userinfo = {"email_verified": True}
    corp.more_of_id_token = {"groups": ["ops"]}
    visitor.sign_in(corp)
    server = declare(settings, corp, key, TO_CLAIMS="name", TO_ALLOWED_GROUPS="ops")
    call(visitor)
    assert server.seen[-1]["name"] == "Ada Lovelace"
    assert not {"email", "email_verified", "groups"} & server.seen[-1].keys()


def test_client_names_the_user_as_its_own_consent_did_until_that_grant_ends(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key, TO_CLAIMS="email,name", TO_CLIENTS="1")
    settings.AUTHORIZATION_SERVER = AuthorizationServer(**SERVER | {"upstreams": {"who": "corp"}})
    corp.more_of_userinfo = {"email_verified": True}
    corp.expires_in = 600
    visitor.sign_in(corp)
    app, resource = App(), f"{ISSUER}/gateway/who"
    app.register()
    corp.person |= {"email": "ada@new.example", "name": "Ada King"}
    led = decide(visitor, app.address(resource=resource))["Location"]
    code = WayBack.of(visitor.client.get(corp.consent(led))).response["code"]
    token = app.redeem(code, resource=resource).json()["access_token"]
    corp.person |= {"email": "ada@newest.example", "name": "Ada"}
    visitor.sign_in(corp)
    expected = {"sub": "corp|1001", "email": "ada@new.example", "name": "Ada King"}
    for _ in range(2):
        assert call_as_client(token).status == 200
        assert server.seen[-1].items() >= (expected | {"client_id": app.client_id}).items()
        store.clock.advance(600)  # the second call needs a refresh
    corp.refresh_tokens.clear()
    assert call_as_client(token).status == 401
    assert len(server.seen) == 2


@each_case(
    ("domains", "address"),
    [("*", "ada@private.example"), ("example.com", "ada@example.com")],
)
def test_githubs_primary_address_counts_unless_another_one_admits(
    github: FakeProvider, settings: Settings, tmp_path: Path, domains: str, address: str
) -> None:
    visitor, key = Visitor(), write_key(tmp_path / "key.pem")
    more = {"ISSUER": "", "ALLOW_PRIVATE": "1", "ALLOWED_DOMAINS": domains}
    server = declare(settings, github, key, "github", TO_CLAIMS="email", **more)
    emails = [
        {"email": "a@private.example", "verified": False, "primary": False},
        {"email": "ada@example.com", "verified": True, "primary": False},
        {"email": "ada@private.example", "verified": True, "primary": True},
    ]
    api = GitHubApi(github, emails)

    def respond_at(path: str, parameters: dict[str, str], authorization: str) -> Response:
        is_upstream = path.startswith("/who")
        return (server if is_upstream else api).respond_at(path, parameters, authorization)

    github.respond_at = respond_at  # type: ignore[method-assign]
    visitor.sign_in(github, "github")
    call(visitor)
    assert server.seen[-1]["email"] == address
    assert server.seen[-1]["sub"] == "github|77"


def test_provider_without_refresh_tokens_names_the_account_until_the_session_ends(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key)
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    store.clock.advance(3600 * 24)
    assert "server&#x27;s answer" in call(visitor)
    assert server.seen[-1]["sub"] == "corp|1001"
    # The token of another client than the configured one needs a new sign-in, as everywhere.
    configure(settings, environment("corp", corp, CLIENT_ID="another"))
    assert "requires a new sign-in" in call(visitor)
    # An upstream that gets the provider's token needs a valid one.
    declare(settings, corp, key, TO_TOKEN="provider")
    assert "requires a new sign-in" in call(visitor)


def test_operator_ends_calls_of_accounts_without_refresh_tokens_too(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key)
    corp.gives_refresh_token = False
    visitor.sign_in(corp)
    assert "server&#x27;s answer" in call(visitor)
    assert end("--provider", "corp", "--before", str(int(store.clock())), "--json").status == 0
    store.clock.advance(60)
    assert "requires a new sign-in" in call(visitor)
    assert len(server.seen) == 1


def test_refresh_token_that_was_revoked_stops_calls(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key)
    visitor.sign_in(corp)
    assert "server&#x27;s answer" in call(visitor)
    corp.refresh_tokens.clear()
    store.clock.advance(3600)
    assert "requires a new sign-in" in call(visitor)
    assert len(server.seen) == 1


def test_outage_of_the_provider_at_a_refresh_stops_calls_for_its_time(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key)
    visitor.sign_in(corp)
    store.clock.advance(3600)
    corp.failing["/token"] = lambda: (500, "text/plain", b"")
    assert "cannot be reached at the moment" in call(visitor)
    assert server.seen == []


def test_user_who_left_the_group_or_was_deactivated_is_rejected(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key, TO_ALLOWED_GROUPS="ops")
    corp.more_of_id_token = {"groups": ["ops"]}
    visitor.sign_in(corp)
    assert "server&#x27;s answer" in call(visitor)
    corp.more_of_id_token = {"groups": ["canteen"]}
    store.clock.advance(3600)
    assert "Your groups at corp do not let you call this upstream." in call(visitor)
    User.objects.update(is_active=False)
    store.clock.advance(60)
    assert call(visitor) == ""  # a redirect to the sign-in
    assert len(server.seen) == 1


def test_token_of_a_failed_call_is_in_no_log_event_or_error_report(
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    declare(settings, corp, key)
    visitor.sign_in(corp)
    settings.DEBUG = True
    visitor.client.raise_request_exception = False
    made: list[str] = []
    events: list[object] = []

    def fail(self: TokenIssuer, call: Call, now: float) -> str:
        made.append(make_token(self, call, now))
        return made[-1]

    async def break_off(*given: object) -> NoReturn:
        raise RuntimeError

    def note(event: object, **_: object) -> None:
        events.append(event)

    make_token = TokenIssuer.make_token
    audit_event.connect(note)
    try:
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.DEBUG):
            patch.setattr(TokenIssuer, "make_token", fail)
            call(visitor)
            patch.setattr(upstream_client, "send", break_off)
            pages = call(visitor)
    finally:
        audit_event.disconnect(note)
    failures = [each.exc_info for each in caplog.records if each.exc_info]
    reports = [ExceptionReporter(None, *each).get_traceback_html() for each in failures]
    assert len(made) == 2
    assert failures
    assert events
    written = [caplog.text, repr(events), pages, *reports]
    assert not [each for each in made for text in written if each in text]


def test_rejected_token_causes_no_refresh(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str, store: Stack
) -> None:
    server = declare(settings, corp, key)
    server.status = 401
    corp.hooks["/who"] = lambda: store.clock.advance(3600)  # the provider's token ends meanwhile
    visitor.sign_in(corp)
    assert "401" in call(visitor)
    assert len(server.seen) == 1
    assert corp.refreshes == []


def test_upstream_of_a_provider_with_bound_tokens_gets_a_bearer_token(
    corp: FakeProvider, visitor: Visitor, settings: Settings, key: str
) -> None:
    server = declare(settings, corp, key, DPOP="1")
    corp.more_of_token_response = {"token_type": "DPoP"}
    visitor.sign_in(corp)
    assert stored_tokens(visitor).dpop_key is not None
    assert "server&#x27;s answer" in call(visitor)
    assert server.seen[-1]["sub"] == "corp|1001"
    assert all("DPoP" not in str(each) for each in server.seen)
