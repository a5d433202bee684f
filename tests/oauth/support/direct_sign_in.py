"""The rows and the session of a person who has signed in, written without a request.

A sign-in takes 30 ms, this 5 ms. `oauth/sign_in/test_direct_sign_in.py` compares both.
"""

import secrets
import time
from typing import Any

import jwt
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from oauth.provider.config import find_provider
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms.services import services
from tests.oauth.support.fake_provider import FakeProvider

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


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
