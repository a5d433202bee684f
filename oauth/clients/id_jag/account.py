"""The user whom an assertion is about: the account of its issuer and subject.

A user is never found by an address: anybody could have put it into their profile. The rules on who
may sign in apply to the assertion's claims; nothing is fetched. A new account gets a user as at a
first sign-in. Of an existing user, nothing changes.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DataError, IntegrityError

from oauth.admission.decision import StoredClaims, admit_assertion
from oauth.clients.rules.errors import InvalidAssertion
from oauth.exceptions import ProviderRefused, ProviderUnavailable, SignInRefused
from oauth.provider.config import ProviderConfig
from oauth.provider.id_token import SUBJECT_MAX
from oauth.sign_in import accounts
from oauth.sign_in.oauth2_adapter import check_account_text, reject_unreadable
from oauth.sign_in.openid_adapter import build_identity
from sessions_kms import user_id_of

# Of the assertion, not of the account.
NOT_STORED: Final = frozenset({"aud", "client_id", "exp", "iat", "jti", "nbf", "resource", "scope"})


@dataclass(frozen=True)
class AssertedUser:
    """The active user of an assertion, the subject of the account, and what a grant stores."""

    user: AbstractBaseUser
    subject: str
    stored: StoredClaims


def read_subject(provider: ProviderConfig, claims: Mapping[str, Any]) -> str:
    """Return what identifies the account, as at a sign-in. Raises InvalidAssertion."""
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= SUBJECT_MAX:
        raise InvalidAssertion("It has no usable sub.")
    try:
        subject = build_identity(claims, provider.identity)
    except ProviderRefused:
        subject = ""
    if not accounts.is_subject(subject):
        raise InvalidAssertion("It does not say whose account it is.")
    return subject


def find_person(provider: ProviderConfig, subject: str) -> str:
    """Return whose limits apply to what is fetched for a request: the user's.

    An account without a user counts for itself.
    """
    user = _find(provider.name, subject)
    return f"{provider.name}|{subject}" if user is None else user_id_of(user)


def find_user(provider: ProviderConfig, claims: Mapping[str, Any]) -> AssertedUser:
    """Return the user of an assertion, who may sign in. Raises InvalidAssertion."""
    subject = read_subject(provider, claims)
    profile = {name: value for name, value in claims.items() if name not in NOT_STORED}
    try:
        stored = admit_assertion(provider, {"id_token": profile}, subject)
    except SignInRefused as refused:
        reason = refused.reason
    else:
        user = _find_or_create(provider.name, subject, profile)
        if not user.is_active:
            raise InvalidAssertion("Its user is deactivated.")
        return AssertedUser(user, subject, stored)
    raise InvalidAssertion(f"Its user may not sign in ({reason}).")


def _find_or_create(provider: str, subject: str, profile: Mapping[str, Any]) -> AbstractBaseUser:
    """Return the user of an account, which another request may create at the same time.

    Raises InvalidAssertion, also if the database rejects the user.
    """
    for _ in range(accounts.ATTEMPTS_MAX):
        with suppress(DataError, IntegrityError):
            return _find(provider, subject) or _create(provider, subject, profile)
    raise InvalidAssertion("The database does not accept its user.")


def _find(provider: str, subject: str) -> AbstractBaseUser | None:
    account = accounts.find_account(provider, subject)
    return None if account is None else account.user


def _create(provider: str, subject: str, profile: Mapping[str, Any]) -> AbstractBaseUser:
    try:
        with reject_unreadable():
            check_account_text(SocialAccount(uid=subject, extra_data={"id_token": profile}))
            account = accounts.create_user_of_claims(provider, profile)
    except (ProviderRefused, ProviderUnavailable):
        raise InvalidAssertion("Its claims cannot be stored.") from None
    if account is None:
        raise InvalidAssertion("Its user has to sign up in a browser first.")
    user: AbstractBaseUser = account.user
    return user
