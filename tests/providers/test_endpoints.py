"""Endpoints that the variables name, in place of those that the metadata does."""

import pytest

from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.hostile import Internet
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import GitLab
from tests.providers.stubs.stub import ADDRESS

URL = "https://gitlab.com"
ALL_NEEDED = {
    "AUTHORIZATION_URL": f"{URL}/authorize",
    "TOKEN_URL": f"{URL}/token",
    "JWKS_URL": f"{URL}/jwks",
}
DISCOVERY = "/.well-known/openid-configuration"


def test_one_endpoint_is_replaced(serve: Serve, visitor: Visitor) -> None:
    gitlab = serve(GitLab, TOKEN_URL=f"{URL}/token")
    gitlab.more_of_metadata = {"token_endpoint": f"{URL}/of-another-network"}
    assert sign_in(visitor, gitlab).status_code == 302


def test_unneeded_metadata_is_not_fetched(serve: Serve, visitor: Visitor) -> None:
    gitlab = serve(GitLab, TOKEN_AUTH="client_secret_post", **ALL_NEEDED)
    gitlab.failing[DISCOVERY] = lambda: pytest.fail("It is not to be asked.")
    assert sign_in(visitor, gitlab).status_code == 302
    assert visitor.load_tokens("gitlab") is not None


def test_issuer_of_the_id_token_is_still_checked(serve: Serve, visitor: Visitor) -> None:
    gitlab = serve(GitLab, TOKEN_AUTH="client_secret_post", **ALL_NEEDED)
    gitlab.more_of_id_token = {"iss": "https://gitlab.example"}
    assert sign_in(visitor, gitlab).status_code == 401
    assert visitor.user_id is None


def test_browser_and_gateway_may_know_a_provider_by_different_names(
    serve: Serve, visitor: Visitor, internet: Internet
) -> None:
    """As a container does: the issuer's own name is the browser's alone."""
    internal = {
        name: url.replace(URL, "http://gitlab.internal") for name, url in ALL_NEEDED.items()
    }
    internal |= {"AUTHORIZATION_URL": f"{URL}/authorize", "ALLOW_HTTP": "1"}
    gitlab = serve(GitLab, TOKEN_AUTH="client_secret_post", **internal)
    started = visitor.start("gitlab")["Location"]
    assert started.startswith(f"{URL}/authorize")
    back = gitlab.consent(started)

    internet.name("gitlab.internal", "10.1.2.3")
    internet.reached.clear()
    assert visitor.client.get(back).status_code == 503  # nobody listens there
    assert set(internet.reached) == {("10.1.2.3", 80)}
    assert (ADDRESS, 443) not in internet.reached
