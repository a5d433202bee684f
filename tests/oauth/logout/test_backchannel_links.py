"""Back-channel logout: the links by which a provider's sign-out finds the sessions."""

from allauth.socialaccount.models import SocialAccount
from pytest_django import Settings

from sessions_kms.session.links import LINKS
from tests.oauth.support.fixtures import Visitor, sign_in_at
from tests.oauth.support.logout_fixtures import PATH, assert_ends_session, post
from tests.oauth.support.logout_provider import LogoutProvider
from tests.sessions_kms.support.stacks import Stack


def test_links_are_opaque_and_depend_on_the_secret_key(
    idp: LogoutProvider, visitor: Visitor, store: Stack, settings: Settings
) -> None:
    idp.person["sub"] = "subject-of-ada"
    visitor.sign_in(idp)
    links = visitor.session[LINKS]
    assert len(links) == 2
    items = [name for name in store.items() if name.startswith("logout#")]
    assert len(items) == 2
    assert "subject-of-ada" not in repr(items)
    settings.SECRET_KEY = "another-secret-key-0123456789abcdefghijklmnopqrstuvwxyz"
    second = sign_in_at(idp)
    assert not set(second.session[LINKS]) & set(links)


def test_rotated_secret_key_loses_no_link(
    idp: LogoutProvider, at_idp: Visitor, settings: Settings
) -> None:
    old, settings.SECRET_KEY = settings.SECRET_KEY, "a-new-key-0123456789abcdefghijklmnopqrstuvwxyz"
    settings.SECRET_KEY_FALLBACKS = [old]
    second = sign_in_at(idp)
    assert post(idp.logout_token()).status_code == 200
    assert "_auth_user_id" not in at_idp.session
    assert second.user_id is None


def test_signing_in_again_replaces_the_links(idp: LogoutProvider, at_idp: Visitor) -> None:
    first = set(at_idp.session[LINKS])
    old = idp.logout_token()
    idp.session_id = "the-next-session"
    at_idp.sign_in(idp)
    assert len(first & set(at_idp.session[LINKS])) == 1  # that of the subject
    assert post(old).status_code == 200
    assert at_idp.user_id is not None
    assert_ends_session(at_idp, idp.logout_token())


def test_each_connected_provider_ends_the_session(
    idp: LogoutProvider, second: LogoutProvider
) -> None:
    for provider, path in ((idp, PATH), (second, "/oauth/backchannel-logout/other")):
        visitor = sign_in_at(idp)
        visitor.connect(second)
        assert len(visitor.session[LINKS]) == 4
        assert_ends_session(visitor, provider.logout_token(), path)


def test_disconnected_provider_ends_nothing(second: LogoutProvider, at_both: Visitor) -> None:
    account = SocialAccount.objects.get(provider="other")
    at_both.client.post("/accounts/3rdparty/", {"account": account.pk})
    assert len(at_both.session[LINKS]) == 2
    assert post(second.logout_token(), "/oauth/backchannel-logout/other").status_code == 200
    assert at_both.user_id is not None
