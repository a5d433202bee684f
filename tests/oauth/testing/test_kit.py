"""The test kit for projects that call APIs with people's tokens."""

import json
from collections.abc import Iterator

import pytest
import requests
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from pytest_django import Settings

from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.provider import config, metadata
from oauth.testing import RecordingUpstream, fake_provider, recording_upstream, signed_in
from sessions_kms.testing import MemoryStore, store
from tests.oauth.support.fixtures import configure

VARIABLES = {
    "OAUTH_GITHUB_CLIENT_ID": "of-github",
    "OAUTH_GITHUB_CLIENT_SECRET": "secret",
    "OAUTH_GITHUB_SCOPES": "repo",
    "OAUTH_GITHUB_ALLOWED_ORGS": "acme",
    "OAUTH_GITHUB_STAFF_GROUPS": "acme/admins",
    "OAUTH_CORP_CLIENT_ID": "of-corp",
    "OAUTH_CORP_CLIENT_SECRET": "secret",
    "OAUTH_CORP_ISSUER": "https://login.example.com",
}
BOTH = pytest.mark.parametrize("provider", ["github", "corp"])


@pytest.fixture(autouse=True)
def kit(db: None, no_services: None, settings: Settings) -> Iterator[MemoryStore]:
    settings.SESSION_ENGINE = "sessions_kms.testing.backend"
    settings.ROOT_URLCONF = "tests.oauth.testing.urls"
    configure(settings, VARIABLES, {"corp": "https://api.example.com"})
    with store.isolated():
        yield store


@pytest.fixture
def upstream(settings: Settings) -> Iterator[RecordingUpstream]:
    with recording_upstream() as upstream:
        settings.API = f"{upstream.url}/repositories?page=2"
        yield upstream


def call(client: Client, provider: str) -> tuple[int, str]:
    response = client.get("/repositories", {"provider": provider})
    return response.status_code, response.content.decode()


def tokens_of(upstream: RecordingUpstream) -> list[str]:
    return [each.headers["authorization"] for each in upstream.requests]


@BOTH
def test_view_calls_the_api_with_the_token_of_the_sign_in(
    client: Client, upstream: RecordingUpstream, provider: str
) -> None:
    upstream.respond(b"[]", status=207)
    signed_in(client, provider, access_token="first")
    assert call(client, provider) == (207, "[]")
    (received,) = upstream.requests
    assert (received.method, received.path) == ("POST", "/repositories?page=2")
    assert (received.headers["authorization"], received.body) == ("Bearer first", b"asked")
    assert "first" not in repr(received)


@BOTH
def test_expired_token_is_refreshed(
    client: Client, upstream: RecordingUpstream, provider: str
) -> None:
    signed_in(client, provider, access_token="first", refresh_token="r1", expires_in=600)
    with fake_provider(provider) as fake:
        fake.give("second", refresh_token="r2", expires_in=600)
        assert call(client, provider)[0] == 200
        store.advance(minutes=10)
        assert call(client, provider)[0] == 200
        fake.give()
        store.advance(minutes=10)
        assert call(client, provider)[0] == 200
    first, second, third = tokens_of(upstream)
    assert (first, second) == ("Bearer first", "Bearer second")
    assert third not in {first, second}
    assert fake.refresh_tokens == ["r1", "r2"]


@BOTH
@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("refuse", "ReauthenticationRequired"),
        ("fail", "ProviderUnavailable"),
        ("time_out", "ProviderUnavailable"),
    ],
)
def test_refresh_that_fails(
    client: Client, upstream: RecordingUpstream, provider: str, trouble: str, expected: str
) -> None:
    signed_in(client, provider, access_token="first", refresh_token="r1", expires_in=600)
    with fake_provider(provider) as fake:
        getattr(fake, trouble)()
        store.advance(minutes=11)
        assert call(client, provider) == (502, expected)
    assert fake.refresh_tokens == ["r1"]
    assert upstream.requests == []


@pytest.mark.parametrize("status", [503, 429])
def test_error_of_the_server_has_its_status(status: int) -> None:
    with fake_provider("github") as fake:
        fake.fail(status)
        response = http.post("https://github.com/login/oauth/access_token", {}, {})
    assert response.status == status
    assert response.is_overloaded


def test_providers_answer_beside_each_other_and_nobody_else_is_asked(
    client: Client, upstream: RecordingUpstream
) -> None:
    for provider in ("github", "corp"):
        signed_in(client, provider, access_token="first", refresh_token=provider, expires_in=60)
        store.advance(minutes=2)
        with fake_provider("github") as github, fake_provider("corp") as corp:
            assert call(client, provider)[0] == 200
            with pytest.raises(ProviderUnavailable):
                http.get("https://api.example.com/")
        asked = {"github": github.refresh_tokens, "corp": corp.refresh_tokens}
        assert asked == {"github": [], "corp": []} | {provider: [provider]}


def test_real_network_is_back_afterwards(client: Client, upstream: RecordingUpstream) -> None:
    real, corp = http.request, config.find_provider("corp")
    assert corp is not None
    signed_in(client, "corp", access_token="first", refresh_token="r", expires_in=60)
    store.advance(minutes=2)
    with fake_provider("github"), fake_provider("corp"):
        assert call(client, "corp")[0] == 200
        assert metadata.cached_metadata(corp) is not None
    assert http.request is real
    assert metadata.cached_metadata(corp) is None


def test_metadata_of_before_is_not_used(
    client: Client, upstream: RecordingUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"issuer": "https://login.example.com"} | dict.fromkeys(
        metadata.REQUIRED, "https://login.example.com/real"
    )
    response = ProviderResponse(200, "application/json", json.dumps(real).encode())
    corp = config.find_provider("corp")
    assert corp is not None
    with monkeypatch.context() as patch:
        patch.setattr(http, "request", lambda *_, **__: response)
        metadata.load_metadata(corp)
    signed_in(client, "corp", access_token="first", refresh_token="r", expires_in=60)
    store.advance(minutes=2)
    with fake_provider("corp") as fake:
        assert call(client, "corp")[0] == 200
    assert fake.refresh_tokens == ["r"]


def test_groups_give_rights_as_at_a_sign_in(client: Client) -> None:
    user = signed_in(client, "github", access_token="a", groups=["acme/admins", "unknown"])
    assert (user.is_staff, user.is_superuser) == (True, False)
    assert client.session["oauth:github"]["groups"] == ["acme/admins"]
    user = signed_in(client, "github", access_token="a")
    assert not user.is_staff


def test_subject_is_one_user_and_may_be_given_another_one(client: Client) -> None:
    one = signed_in(client, "github", access_token="a")
    assert signed_in(Client(), "github", access_token="b") == one
    assert signed_in(Client(), "github", access_token="c", subject="2") != one
    ada = User.objects.create_user("ada")
    assert signed_in(Client(), "corp", access_token="d", user=ada) == ada
    with pytest.raises(ValueError, match="belongs to another user"):
        signed_in(Client(), "github", access_token="e", user=ada)


def test_session_knows_the_sign_in_by_that_account(client: Client) -> None:
    user = signed_in(client, "github", access_token="a", subject="7")
    (record,) = client.session["account_authentication_methods"]
    assert (record["provider"], record["uid"]) == ("github", "7")
    assert client.session["_auth_user_id"] == str(user.pk)


def test_async_client_is_signed_in_too(upstream: RecordingUpstream) -> None:
    client = AsyncClient()
    signed_in(client, "github", access_token="first")
    assert client.session["oauth:github"]["access_token"] == "first"


@pytest.mark.parametrize(
    "use",
    [fake_provider("google").__enter__, lambda: signed_in(Client(), "google", access_token="a")],
)
def test_provider_that_is_not_configured(use: object) -> None:
    with pytest.raises(ValueError, match="has no provider 'google'"):
        use()  # type: ignore[operator]  # of two kinds


def test_upstream_records_every_method(upstream: RecordingUpstream) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "QUERY"):
        assert requests.request(method, upstream.url, timeout=10).content == b"{}"
    assert [each.method for each in upstream.requests] == ["GET", "PUT", "PATCH", "DELETE", "QUERY"]
