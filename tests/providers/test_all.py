"""Each provider, configured as docs/providers.md has it, signs in and refreshes."""

import pytest
from allauth.socialaccount.models import SocialAccount

from gateway_site.providers.configuration import form_action_origins, read_providers
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import get_token
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import ALL, GitHubEnterprise, Stub
from tests.sessions_kms.support.stacks import Stack

REFRESHING = [each for each in ALL if each is not GitHubEnterprise]


@pytest.mark.parametrize("kind", ALL)
def test_signs_in_by_environment_alone(serve: Serve, visitor: Visitor, kind: type[Stub]) -> None:
    provider = serve(kind)
    assert sign_in(visitor, provider).status_code == 302
    held = visitor.load_tokens(provider.name)
    assert visitor.user_id is not None
    assert held is not None
    assert held.access_token in provider.secrets
    assert provider.refused == []


@pytest.mark.parametrize("kind", ALL)
def test_unlisted_people_cannot_sign_in(serve: Serve, visitor: Visitor, kind: type[Stub]) -> None:
    provider = serve(kind, ALLOWED_DOMAINS="", ALLOWED_EMAILS="nobody@example.org")
    assert sign_in(visitor, provider).status_code == 403
    assert visitor.user_id is None
    assert visitor.load_tokens(provider.name) is None
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("kind", REFRESHING)
def test_refreshes(serve: Serve, visitor: Visitor, store: Stack, kind: type[Stub]) -> None:
    provider = serve(kind)
    sign_in(visitor, provider)
    before = visitor.load_tokens(provider.name)
    store.clock.advance(provider.expires_in + 1)
    new = get_token(visitor, provider.name)
    assert before is not None
    assert new.access_token not in (None, before.access_token)
    assert new.refresh_token is not None
    assert (new.refresh_token != before.refresh_token) is provider.rotates
    assert len(provider.refreshes) == 1


@pytest.mark.parametrize("kind", ALL)
def test_csp_allows_the_forms_of_sign_in_buttons_to_reach_the_provider(
    serve: Serve, visitor: Visitor, kind: type[Stub]
) -> None:
    provider = serve(kind)
    origin = "/".join(visitor.start(provider.name)["Location"].split("/")[:3])
    assert origin in form_action_origins(read_providers(provider.environment))
