"""What admits and ends calls with identity tokens: the account at the provider, as for others."""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import jwt
import pytest
from django.contrib.auth.models import User
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_django import Settings

from gateway_site.audit.trail import audit_event
from gateway_site.edge.reports import ExceptionReporter
from gateway_site.identity.keys import load_signing_key
from gateway_site.identity.token import Call, TokenIssuer
from gateway_site.pages.upstreams import TrialResponse
from gateway_site.rules.upstream import find_stored_claims, read_upstreams
from gateway_site.transport import upstream_client
from oauth.clients.server import AuthorizationServer
from oauth.metrics import telemetry as oauth_telemetry
from sessions_kms.telemetry import telemetry as engine_telemetry
from tests.gateway_site.support.notes_calls import call_path
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
class Who:
    """The upstream `who` at the provider's address: its visitor, and the claims that it got."""

    corp: FakeProvider
    visitor: Visitor
    settings: Settings
    store: Stack
    key: str
    status: int = 200
    seen: list[dict[str, Any]] = field(default_factory=list)

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        token = authorization.removeprefix("Bearer ")
        self.seen.append(jwt.decode(token, options={"verify_signature": False}))
        return self.status, "text/plain", b"the server's answer"

    def declare(self, name: str = "corp", at: FakeProvider | None = None, **more: str) -> None:
        """Declare the upstream; variables of ``more`` that begin with `TO_` are its own."""
        self.seen.clear()
        at = at or self.corp
        own = {each.removeprefix("TO_"): more.pop(each) for each in list(more) if each[:3] == "TO_"}
        given = {"URL": at.issuer, "PROVIDER": name, "TOKEN": "identity", "PATHS": "/who"} | own
        variables = {f"UPSTREAM_WHO_{each}": value for each, value in given.items()}
        variables |= environment(name, at, **more)
        self.settings.UPSTREAMS = read_upstreams(variables)
        self.settings.IDENTITY_TOKENS = TokenIssuer("https://g.example", load_signing_key(self.key))
        claims = find_stored_claims(self.settings.UPSTREAMS.values())
        configure(self.settings, variables, stored_claims=claims)
        at.respond_at = self.respond_at  # type: ignore[method-assign]  # of this provider alone

    def sign_in(self) -> None:
        self.visitor.sign_in(self.corp)

    def call(self) -> str:
        """Call it as a browser does, through the whole gateway; return the page."""
        response: Any = self.visitor.client.get("/try/who/", headers={"Host": "testserver"})
        page: str = response.content.decode()
        return page


@pytest.fixture
def who(
    corp: FakeProvider, visitor: Visitor, settings: Settings, store: Stack, tmp_path: Path
) -> Who:
    return Who(corp, visitor, settings, store, write_key(tmp_path / "key.pem"))


def call_as_client(access_token: str) -> TrialResponse:
    return call_path("/gateway/who/who", authorization=f"Bearer {access_token}")


def test_claims_of_the_sign_in_are_those_that_the_upstream_is_told(who: Who) -> None:
    who.declare(TO_CLAIMS="email,name,groups", TO_ALLOWED_GROUPS="ops")
    who.corp.more_of_userinfo = {"email_verified": True, "email": "Ada@Example.com"}
    who.corp.more_of_id_token = {"groups": ["ops", "unnamed"]}
    who.sign_in()
    assert "server&#x27;s answer" in who.call()
    expected = {
        "email": "ada@example.com",
        "email_verified": True,
        "name": "Ada Lovelace",
        "groups": ["ops"],
        "sub": "corp|1001",
        "aud": who.corp.issuer,
    }
    assert who.seen[-1].items() >= expected.items()
    assert "ada" not in repr(stored_tokens(who.visitor)).lower()
    # A refresh keeps them: its id token may have fewer claims.
    who.store.clock.advance(3600)
    who.corp.more_of_id_token = {}
    who.call()
    assert who.corp.refreshes
    assert who.seen[-1].items() >= expected.items()


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
    who: Who, wanted: str, more: dict[str, Any]
) -> None:
    who.visitor = Visitor()
    who.declare(TO_CLAIMS=wanted)
    who.corp.more_of_userinfo = more
    who.sign_in()
    who.call()
    assert not {"email", "email_verified", "name", "groups"} & who.seen[-1].keys()
    assert not {"email", "name"} & stored_tokens(who.visitor).to_session().keys()


def test_token_and_claims_are_in_no_span(who: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    for each in (engine_telemetry, oauth_telemetry):
        monkeypatch.setattr(each, "_is_enabled", True)
        monkeypatch.setitem(vars(each), "tracer", tracers.get_tracer("tests"))
    who.declare(TO_CLAIMS="email,name")
    who.corp.more_of_userinfo = {"email_verified": True}
    who.sign_in()
    for who.status in (200, 500):
        who.call()
    tracers.shutdown()
    assert [each["name"] for each in who.seen] == ["Ada Lovelace"] * 2
    spans = "".join(each.to_json() for each in exporter.get_finished_spans())
    assert "sessions_kms load" in spans
    assert not re.search("eyJ|Ada|ada@", spans)


def test_session_from_before_the_variable_has_no_claims(who: Who) -> None:
    who.corp.more_of_userinfo = {"email_verified": True}
    who.declare()
    who.sign_in()
    who.declare(TO_CLAIMS="email,name")
    who.call()
    assert not {"email", "email_verified", "name"} & who.seen[-1].keys()


def test_upstream_is_told_no_claim_that_only_another_one_gets(who: Who) -> None:
    who.declare(TO_CLAIMS="email,name,groups", TO_ALLOWED_GROUPS="ops")
    who.corp.more_of_userinfo = {"email_verified": True}
    who.corp.more_of_id_token = {"groups": ["ops"]}
    who.sign_in()
    who.declare(TO_CLAIMS="name", TO_ALLOWED_GROUPS="ops")
    who.call()
    assert who.seen[-1]["name"] == "Ada Lovelace"
    assert not {"email", "email_verified", "groups"} & who.seen[-1].keys()


def test_client_names_the_user_as_its_own_consent_did_until_that_grant_ends(who: Who) -> None:
    who.declare(TO_CLAIMS="email,name", TO_CLIENTS="1")
    who.settings.AUTHORIZATION_SERVER = AuthorizationServer(
        **SERVER | {"upstreams": {"who": "corp"}}
    )
    who.corp.more_of_userinfo = {"email_verified": True}
    who.corp.expires_in = 600
    who.sign_in()
    app, resource = App(), f"{ISSUER}/gateway/who"
    app.register()
    who.corp.person |= {"email": "ada@new.example", "name": "Ada King"}
    led = decide(who.visitor, app.address(resource=resource))["Location"]
    code = WayBack.of(who.visitor.client.get(who.corp.consent(led))).response["code"]
    token = app.redeem(code, resource=resource).json()["access_token"]
    who.corp.person |= {"email": "ada@newest.example", "name": "Ada"}
    who.sign_in()
    expected = {"sub": "corp|1001", "email": "ada@new.example", "name": "Ada King"}
    for _ in range(2):
        assert call_as_client(token).status == 200
        assert who.seen[-1].items() >= (expected | {"client_id": app.client_id}).items()
        who.store.clock.advance(600)  # the second call needs a refresh
    who.corp.refresh_tokens.clear()
    assert call_as_client(token).status == 401
    assert len(who.seen) == 2


@each_case(
    ("domains", "address"),
    [("*", "ada@private.example"), ("example.com", "ada@example.com")],
)
def test_githubs_primary_address_counts_unless_another_one_admits(
    who: Who, github: FakeProvider, domains: str, address: str
) -> None:
    who.visitor = Visitor()
    more = {"ISSUER": "", "ALLOW_PRIVATE": "1", "ALLOWED_DOMAINS": domains}
    who.declare("github", github, TO_CLAIMS="email", **more)
    emails = [
        {"email": "a@private.example", "verified": False, "primary": False},
        {"email": "ada@example.com", "verified": True, "primary": False},
        {"email": "ada@private.example", "verified": True, "primary": True},
    ]
    api = GitHubApi(github, emails)

    def respond_at(path: str, parameters: dict[str, str], authorization: str) -> Response:
        is_upstream = path.startswith("/who")
        return (who if is_upstream else api).respond_at(path, parameters, authorization)

    github.respond_at = respond_at  # type: ignore[method-assign]
    who.visitor.sign_in(github, "github")
    who.call()
    assert who.seen[-1]["email"] == address
    assert who.seen[-1]["sub"] == "github|77"


def test_provider_without_refresh_tokens_names_the_account_until_the_session_ends(who: Who) -> None:
    who.declare()
    who.corp.gives_refresh_token = False
    who.sign_in()
    who.store.clock.advance(3600 * 24)
    assert "server&#x27;s answer" in who.call()
    assert who.seen[-1]["sub"] == "corp|1001"
    # The token of another client than the configured one needs a new sign-in, as everywhere.
    configure(who.settings, environment("corp", who.corp, CLIENT_ID="another"))
    assert "requires a new sign-in" in who.call()
    # An upstream that gets the provider's token needs a valid one.
    who.declare(TO_TOKEN="provider")
    assert "requires a new sign-in" in who.call()


def test_operator_ends_calls_of_accounts_without_refresh_tokens_too(who: Who) -> None:
    who.declare()
    who.corp.gives_refresh_token = False
    who.sign_in()
    assert "server&#x27;s answer" in who.call()
    assert end("--provider", "corp", "--before", str(int(who.store.clock())), "--json").status == 0
    who.store.clock.advance(60)
    assert "requires a new sign-in" in who.call()
    assert len(who.seen) == 1


def test_refresh_token_that_was_revoked_stops_calls(who: Who) -> None:
    who.declare()
    who.sign_in()
    assert "server&#x27;s answer" in who.call()
    who.corp.refresh_tokens.clear()
    who.store.clock.advance(3600)
    assert "requires a new sign-in" in who.call()
    assert len(who.seen) == 1


def test_outage_of_the_provider_at_a_refresh_stops_calls_for_its_time(who: Who) -> None:
    who.declare()
    who.sign_in()
    who.store.clock.advance(3600)
    who.corp.failing["/token"] = lambda: (500, "text/plain", b"")
    assert "cannot be reached at the moment" in who.call()
    assert who.seen == []


def test_user_who_left_the_group_or_was_deactivated_is_rejected(who: Who) -> None:
    who.declare(TO_ALLOWED_GROUPS="ops")
    who.corp.more_of_id_token = {"groups": ["ops"]}
    who.sign_in()
    assert "server&#x27;s answer" in who.call()
    who.corp.more_of_id_token = {"groups": ["canteen"]}
    who.store.clock.advance(3600)
    assert "Your groups at corp do not let you call this upstream." in who.call()
    User.objects.update(is_active=False)
    who.store.clock.advance(60)
    assert who.call() == ""  # a redirect to the sign-in
    assert len(who.seen) == 1


def test_token_of_a_failed_call_is_in_no_log_event_or_error_report(
    who: Who, caplog: pytest.LogCaptureFixture
) -> None:
    who.declare()
    who.sign_in()
    who.settings.DEBUG = True
    who.visitor.client.raise_request_exception = False
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
            who.call()
            patch.setattr(upstream_client, "send", break_off)
            pages = who.call()
    finally:
        audit_event.disconnect(note)
    failures = [each.exc_info for each in caplog.records if each.exc_info]
    reports = [ExceptionReporter(None, *each).get_traceback_html() for each in failures]
    assert len(made) == 2
    assert failures
    assert events
    written = [caplog.text, repr(events), pages, *reports]
    assert not [each for each in made for text in written if each in text]


def test_rejected_token_causes_no_refresh(who: Who) -> None:
    who.declare()
    who.status = 401
    who.corp.hooks["/who"] = lambda: who.store.clock.advance(
        3600
    )  # the provider's token ends meanwhile
    who.sign_in()
    assert "401" in who.call()
    assert len(who.seen) == 1
    assert who.corp.refreshes == []


def test_upstream_of_a_provider_with_bound_tokens_gets_a_bearer_token(who: Who) -> None:
    who.declare(DPOP="1")
    who.corp.more_of_token_response = {"token_type": "DPoP"}
    who.sign_in()
    assert stored_tokens(who.visitor).dpop_key is not None
    assert "server&#x27;s answer" in who.call()
    assert who.seen[-1]["sub"] == "corp|1001"
    assert all("DPoP" not in str(each) for each in who.seen)
