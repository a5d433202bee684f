"""Apple: responses are posted, and redirected; client secrets are made from a key."""

from urllib.parse import urlencode

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.configuration import read_providers
from oauth import checks
from tests.oauth.support.fake_provider import CLIENT_ID
from tests.oauth.support.fixtures import Visitor
from tests.providers.conftest import Serve
from tests.providers.signing_in import FORM, post, sign_in
from tests.providers.stubs import Apple, GitLab
from tests.providers.stubs.stub import query_of
from tests.sessions_kms.support.stacks import Stack

CALLBACK = "/accounts/oidc/apple/login/callback/"


def test_posted_response_is_redirected_without_session_and_unneeded_fields(
    serve: Serve, visitor: Visitor, store: Stack
) -> None:
    apple = serve(Apple)
    page = apple.browse(visitor.start("apple")["Location"]).text
    assert 'name="user"' in page
    before = store.items()

    led_on = post(page)

    assert led_on.status_code == 303
    assert led_on["Location"].startswith(f"{CALLBACK}?")
    assert set(query_of(led_on["Location"])) == {"code", "state"}
    assert not led_on.cookies
    assert "Cookie" not in led_on.get("Vary", "")
    assert store.items() == before


def test_name_sent_by_the_browser_is_ignored(serve: Serve, visitor: Visitor) -> None:
    assert sign_in(visitor, serve(Apple)).status_code == 302
    (person,) = get_user_model().objects.all()
    assert (person.first_name, person.last_name) == ("", "")
    assert "Mallory" not in str(SocialAccount.objects.get().extra_data)
    assert EmailAddress.objects.get().verified


def test_secret_is_short_lived_and_created_for_each_request(
    serve: Serve, visitor: Visitor, store: Stack
) -> None:
    apple = serve(Apple)
    sign_in(visitor, apple)
    (claims,) = apple.assertions  # the stub has looked at signature, key, team and audience
    assert claims["sub"] == CLIENT_ID
    assert claims["iat"] == int(store.clock())
    assert claims["exp"] - claims["iat"] <= 300


def test_cancellation_is_shown_to_the_person(serve: Serve, visitor: Visitor) -> None:
    serve(Apple)
    state = query_of(visitor.start("apple")["Location"])["state"]
    fields = {"error": "user_cancelled_authorize", "state": state}
    led_on = Visitor().client.post(CALLBACK, urlencode(fields), content_type=FORM)
    response = visitor.client.get(led_on["Location"])
    assert (response.status_code, response["Location"]) == (
        302,
        "/accounts/3rdparty/login/cancelled/",
    )


@pytest.mark.parametrize("named", [{"error": "user_cancelled_authorize"}, {"code": "of-another"}])
def test_issuer_of_a_posted_response_is_checked_as_well(
    serve: Serve, visitor: Visitor, named: dict[str, str]
) -> None:
    serve(Apple)
    state = query_of(visitor.start("apple")["Location"])["state"]
    fields = {**named, "state": state, "iss": "https://evil.example"}
    led_on = Visitor().client.post(CALLBACK, urlencode(fields), content_type=FORM)
    response = visitor.client.get(led_on["Location"])
    assert (response.status_code, visitor.user_id) == (401, None)
    assert "response_issuer" in response.content.decode()


@pytest.mark.parametrize(
    "body", ["code=1&code=2&state=x", f"code={'x' * 2049}&state=x", "x=" + "y" * 40_000, "code=é"]
)
def test_form_that_is_no_authorization_response_is_rejected(
    serve: Serve, visitor: Visitor, body: str
) -> None:
    serve(Apple)
    assert visitor.client.post(CALLBACK, body, content_type=FORM).status_code == 400
    assert visitor.client.post(CALLBACK, body, content_type="text/plain").status_code == 400


def test_unexpected_response_does_not_sign_in(serve: Serve, visitor: Visitor) -> None:
    apple = serve(Apple)
    page = apple.browse(visitor.start("apple")["Location"]).text
    stranger = Visitor()
    stranger.client.get(post(page)["Location"])
    assert stranger.user_id is None


def test_other_providers_post_nothing(serve: Serve, visitor: Visitor) -> None:
    serve(GitLab)
    for name in ("gitlab", "nobody"):
        address = f"/accounts/oidc/{name}/login/callback/"
        response = visitor.client.post(address, "code=x&state=y", content_type=FORM)
        assert response.status_code == 405


@pytest.mark.parametrize(
    ("change", "variable"),
    [
        ({"TEAM_ID": ""}, "TEAM_ID"),
        ({"PRIVATE_KEY_FILE": ""}, "PRIVATE_KEY_FILE"),
        ({"PRIVATE_KEY_ID": ""}, "PRIVATE_KEY_ID"),
        ({"CLIENT_SECRET": "one of half a year"}, "CLIENT_SECRET"),
        ({"TOKEN_AUTH": "client_secret_post"}, "TOKEN_AUTH"),
        ({"TOKEN_URL": "https://login.example.com/token"}, "TOKEN_URL"),
        ({"SCOPES": "openid,offline_access"}, "SCOPES"),
    ],
)
def test_mistake_names_the_variable(serve: Serve, change: dict[str, str], variable: str) -> None:
    environment = serve(Apple).environment
    environment |= {f"OAUTH_APPLE_{name}": value for name, value in change.items()}
    with pytest.raises(ImproperlyConfigured, match=f"OAUTH_APPLE_{variable}"):
        read_providers(environment)


def test_key_that_cannot_sign_is_found_by_the_checks(serve: Serve) -> None:
    apple = serve(Apple)
    assert list(checks.token_endpoints_can_be_used()) == []
    serve(Apple, PRIVATE_KEY_FILE=str(apple.trusted))
    (error,) = checks.token_endpoints_can_be_used()
    assert error.id == "oauth.E008"
    assert "OAUTH_APPLE_PRIVATE_KEY_FILE" in str(error.hint)
