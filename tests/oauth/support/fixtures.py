"""A gateway with providers over real HTTP, and a visitor with a browser's cookies."""

import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from asgiref.local import Local
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import cache
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import Client
from pytest_django import Settings

from gateway_site.providers import configuration
from oauth.network import concurrency
from oauth.provider.config import find_provider
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from sessions_kms.services import services
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.stacks import Stack, fake_stack, install
from tests.support.clock import FakeClock

P = TypeVar("P", bound=FakeProvider)
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
BOB = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}


def environment(name: str, provider: FakeProvider, **more: str) -> dict[str, str]:
    """Return the variables that configure a provider."""
    prefix = f"OAUTH_{name.upper()}_"
    variables = {
        "CLIENT_ID": CLIENT_ID,
        "CLIENT_SECRET": CLIENT_SECRET,
        "ISSUER": provider.issuer,
    } | more
    return {prefix + key: value for key, value in variables.items() if value}


# A person who has signed in, written without a request. A sign-in takes 30 ms, this 5 ms.
# `oauth/sign_in/test_direct_sign_in.py` compares both.


def create_person(person: dict[str, Any], provider: str, id_token: str) -> User:
    """Create what a first sign-in creates in the database."""
    first, _, last = person["name"].partition(" ")
    taken = User.objects.filter(username=first.lower()).exists()
    username = first.lower() + person["sub"] * taken
    user = User.objects.create_user(username, person["email"], first_name=first, last_name=last)
    EmailAddress.objects.create(user=user, email=person["email"], primary=True)
    claims = jwt.decode(id_token, options={"verify_signature": False})
    SocialAccount.objects.create(
        user=user,
        provider=provider,
        uid=person["sub"],
        extra_data={"userinfo": person, "id_token": claims},
    )
    return user


def start_session(client: Client, user: User, provider: str, tokens: TokenSet) -> None:
    """Give the browser a session of this person, with the provider's tokens."""
    client.force_login(user, BACKEND)
    session = client.session
    method = {"method": "socialaccount", "provider": provider, "uid": tokens.subject}
    session["account_authentication_methods"] = [method | {"at": time.time()}]
    session["account_authentication_methods_user"] = str(user.pk)
    session["account_verified_email"] = None
    session["socialaccount_states"] = {}
    session["_about"] = {"provider": provider}
    vault.store_token_set(session, provider, tokens)
    session.save()


def sign_in_directly(client: Client, at: FakeProvider, provider: str) -> None:
    """Sign a new person in, as the provider's responses would."""
    configured = find_provider(provider)
    assert configured is not None
    response = at.token_response(nonce=secrets.token_urlsafe(32))
    tokens = TokenSet.from_response(
        response,
        subject=at.person["sub"],
        client_id=configured.client_id,
        requested_scope=configured.scope,
        now=int(services().clock()),
        source=provider,
    )
    user = create_person(at.person, provider, response["id_token"])
    start_session(client, user, provider, tokens)


class Visitor:
    """A person with a browser: the gateway's pages run in process, the provider's over HTTP."""

    def __init__(self) -> None:
        self.client = Client()

    def start(self, provider: str = "corp", **form: str) -> Any:
        if form.get("process") == "connect":
            form = shown_fields(self.user_id) | form
        return self.client.post(address(provider), form)

    def sign_in(self, at: FakeProvider, provider: str = "corp", **form: str) -> Any:
        """Sign in at the provider; return the response of the callback."""
        return self.client.get(self.callback_address(at, provider, **form))

    def sign_in_directly(self, at: FakeProvider, provider: str = "corp") -> None:
        """Be signed in as `sign_in` leaves a new person, without its requests."""
        sign_in_directly(self.client, at, provider)

    def connect(self, at: FakeProvider, provider: str = "other") -> Any:
        return self.sign_in(at, provider, process="connect")

    def callback_address(self, at: FakeProvider, provider: str = "corp", **form: str) -> str:
        started = self.start(provider, **form)
        assert started.status_code == 302, started.content
        return at.consent(started["Location"])

    @property
    def session(self) -> SessionBase:
        return self.client.session

    def load_tokens(self, provider: str = "corp") -> TokenSet | None:
        return vault.load_token_set(self.session, provider)

    @property
    def user_id(self) -> str | None:
        user_id: str | None = self.session.get("_auth_user_id")
        return user_id


def sign_in_at(at: FakeProvider, provider: str = "corp") -> Visitor:
    """Sign in at the provider in a new browser."""
    visitor = Visitor()
    visitor.sign_in(at, provider)
    return visitor


def address(provider: str) -> str:
    folder = "github" if provider == "github" else f"oidc/{provider}"
    return f"/accounts/{folder}/login/"


def wait_a_moment(seconds: float) -> None:
    """Really sleep, for a short time: tests poll for results of threads and HTTP requests."""
    time.sleep(min(seconds, 0.1))


@pytest.fixture
def store(no_services: None, db: None, settings: Settings) -> Iterator[Stack]:
    """Install the real engine with a table and a KMS in memory."""
    settings.SESSION_ENGINE = "sessions_kms.backend"
    assert SessionStore.__module__ == settings.SESSION_ENGINE
    cache.clear()
    anonymous_max_size = settings.SESSIONS_KMS["ANONYMOUS_MAX_SIZE"]
    stack = fake_stack(FakeClock(time.time()), anonymous_max_size=anonymous_max_size)
    stack.services = replace(stack.services, sleep=wait_a_moment)
    install(stack.services)
    yield stack
    assert concurrency.drain_background(20)


@contextmanager
def serving_corp(kind: type[P], store: Stack, settings: Settings) -> Iterator[P]:
    """Serve a provider, configured as `corp`."""
    with fake_provider.serving(kind) as provider:
        provider.clock = store.clock
        configure(settings, environment("corp", provider))
        yield provider


@contextmanager
def serving_other(corp: P, settings: Settings) -> Iterator[P]:
    """Serve a second provider like it, configured as `other`."""
    with fake_provider.serving(type(corp)) as provider:
        provider.clock, corp.client_id = corp.clock, "the-corp-client"
        variables = environment("corp", corp, CLIENT_ID=corp.client_id)
        configure(settings, variables | environment("other", provider))
        yield provider


@pytest.fixture
def corp(store: Stack, settings: Settings) -> Iterator[FakeProvider]:
    with serving_corp(FakeProvider, store, settings) as provider:
        yield provider


@pytest.fixture
def strict(store: Stack, settings: Settings) -> Iterator[FakeProvider]:
    """Serve a provider that takes pushed requests, and can be stricter."""
    with serving_corp(FakeProvider, store, settings) as provider:
        provider.supports_par = True
        yield provider


@pytest.fixture
def other(corp: FakeProvider, settings: Settings) -> Iterator[FakeProvider]:
    with serving_other(corp, settings) as provider:
        yield provider


@pytest.fixture
def github(
    store: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeProvider]:
    """Serve GitHub's dialect, with tokens that do not expire and without refresh."""
    with fake_provider.serving(FakeProvider) as provider:
        provider.person = {"id": 77, "login": "ada", "email": None, "name": "Ada"}
        provider.scope = "read:user,user:email"
        provider.expires_in = None
        provider.gives_refresh_token = False
        configure(settings, environment("github", provider, ISSUER="", ALLOW_PRIVATE="1"))
        for name, path in {
            "authorize_url": "/login/oauth/authorize",
            "access_token_url": "/login/oauth/access_token",
            "profile_url": "/user",
        }.items():
            monkeypatch.setattr(GitHubOAuth2Adapter, name, provider.issuer + path)
        yield provider


def configure(
    settings: Settings,
    variables: dict[str, str],
    resources: Mapping[str, str] | None = None,
    policy_groups: Mapping[str, frozenset[str]] | None = None,
    stored_claims: Mapping[str, frozenset[str]] | None = None,
) -> None:
    """Change the settings as these environment variables would.

    Resources and claims are by provider, groups that only a policy file names by upstream.
    """
    found = configuration.read_providers(variables, resources, policy_groups, stored_claims)
    settings.OAUTH_PROVIDERS = found
    settings.SOCIALACCOUNT_PROVIDERS = configuration.social_providers(found)


@pytest.fixture
def database_file(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """Give every thread its own connection to a shared database file.

    Existing connections are set aside: Django would close them under this name, and closing the
    last one would delete the database in memory for all later tests.
    """
    connection.ensure_connection()
    database: sqlite3.Connection = connection.connection
    path = tmp_path / "db.sqlite3"
    path.write_bytes(database.serialize())
    opened: list[BaseDatabaseWrapper] = []

    def note(connection: BaseDatabaseWrapper, **_: Any) -> None:
        opened.append(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_connections", Local(thread_critical=True))
        patch.setitem(
            connections.settings, "default", {**connections.settings["default"], "NAME": str(path)}
        )
        connection_created.connect(note)
        yield path
        connection_created.disconnect(note)
    for each in opened:
        each.inc_thread_sharing()
        each.close()


@pytest.fixture
def visitor(store: Stack) -> Visitor:
    return Visitor()


@pytest.fixture
def signed_in(corp: FakeProvider, visitor: Visitor) -> Visitor:
    visitor.sign_in_directly(corp)
    return visitor


@pytest.fixture
def expired(signed_in: Visitor, store: Stack) -> Visitor:
    """Return a person whose access token has expired since they signed in."""
    store.clock.advance(4000)
    return signed_in


@pytest.fixture
def connected(corp: FakeProvider, other: FakeProvider, visitor: Visitor) -> Visitor:
    """Return a person who signed in at one provider, and connected an account of another."""
    visitor.sign_in_directly(corp)
    visitor.connect(other)
    return visitor
