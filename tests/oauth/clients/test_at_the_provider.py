"""A grant and its provider: whose back-channel logout reaches it by the subject, and by the session
if told so; and where it is revoked when the client ends it.
"""

from dataclasses import replace

import pytest
from pytest_django import Settings

from oauth.clients.grants import Grants
from oauth.clients.token_pair import Lifetimes
from oauth.network import concurrency
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.grant_store import GrantStore
from sessions_kms.services import services
from sessions_kms.session.links import LINKS
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.grants import ASKED, BACKEND, CONSENT, VERIFIER, PeopleInMemory
from tests.oauth.support.logout_fixtures import assert_ends_session, post
from tests.oauth.support.logout_provider import ABSENT, LogoutProvider
from tests.oauth.support.requests import stored_tokens

pytestmark = pytest.mark.django_db(transaction=True)


def grant_access(visitor: Visitor, *, end_with_sid: bool) -> tuple[Grants, str]:
    """Allow a client what the visitor's session holds, as if it were of a sign-in of its own."""
    grants = Grants(services(), Lifetimes(end_with_sid=end_with_sid))
    held = stored_tokens(visitor)
    own = replace(held, grant_secret="g" * 32)
    code = run_sync(grants.allow(PeopleInMemory.ada, CONSENT, "corp", own, backend=BACKEND)).code
    asked = ASKED | {"redirect_uri": None, "arrived_at": grants.services.clock()}
    issued = run_sync(grants.redeem(code, verifier=VERIFIER, **asked))
    return grants, issued.access_token


def session_of(grants: Grants, access_token: str) -> GrantStore | None:
    found = run_sync(grants.open(access_token, upstream="mcp"))
    return None if found is None else found.session


@pytest.mark.parametrize(("with_sid", "links"), [(False, 2), (True, 3)])
def test_logout_of_the_providers_session_ends_a_grant_only_if_configured(
    idp: LogoutProvider, at_idp: Visitor, *, with_sid: bool, links: int
) -> None:
    grants, access_token = grant_access(at_idp, end_with_sid=with_sid)
    session = session_of(grants, access_token)
    assert session is not None
    assert len(session[LINKS]) == links  # one of them by which grants are told from sessions
    assert_ends_session(at_idp, idp.logout_token())
    assert (session_of(grants, access_token) is None) is with_sid


def test_sign_out_of_the_person_ends_the_grant(idp: LogoutProvider, at_idp: Visitor) -> None:
    grants, access_token = grant_access(at_idp, end_with_sid=False)
    assert post(idp.logout_token(sid=ABSENT)).status_code == 200
    assert session_of(grants, access_token) is None


def test_grant_ended_by_its_client_is_revoked_and_no_other(
    idp: LogoutProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", idp, REVOCATION="always"))
    visitor.sign_in(idp)
    grants, access_token = grant_access(visitor, end_with_sid=False)
    run_sync(grants.revoke(access_token, client_id=CONSENT.client_id))
    assert concurrency.drain_background(10)
    held = stored_tokens(visitor)
    assert [each["token"] for each in idp.revocations] == [held.refresh_token]
    assert session_of(grants, access_token) is None
    assert visitor.user_id is not None
