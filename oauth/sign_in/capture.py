"""Stores the tokens of a sign-in in the session of the person who signed in, and in no other.

Receives allauth's signals. Their order decides which of them may write: `pre_social_login` and
`social_account_updated` also fire for an inactive account, for an unfinished sign-up, and when
somebody tries to connect another person's account. So a sign-in is stored at `user_logged_in`, when
the session key is cycled and every stage has passed, and a connection only once the account is
known to be the person's own.
"""

from typing import Any

from allauth.account.signals import user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import (
    pre_social_login,
    social_account_added,
    social_account_removed,
    social_account_updated,
)
from django.contrib import messages
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.translation import gettext as _

from oauth.exceptions import SessionFull
from oauth.logout import session_links
from oauth.logout.deferred_revocation import (
    keep_grant,
    remove_tokens,
    revoke_later,
    revoke_unused,
)
from oauth.metrics import count_sign_in
from oauth.provider.token_set import TokenSet
from oauth.sign_in import rights
from oauth.tokens import vault
from oauth.tokens.revocation import save_or_revoke
from sessions_kms import user_id_of
from sessions_kms.services import services

# Keys of the sign-in's state, which survives the sign-up form and the e-mail stage. The state is
# part of the encrypted session.
STATE = "oauth_token_set"
OTHERS = "oauth_other_token_sets"


@receiver(pre_social_login, dispatch_uid="oauth.carry")
def carry_token_set(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """Put the token set into the sign-in's state.

    The refresh token of the same account and the token sets of the person's other providers are
    kept as well, since allauth signs a person out before it signs the same person in again. Raises
    SessionFull while the session with all of them still exists.
    """
    token_set = _captured_token_set(sociallogin)
    if token_set is None:
        return
    if _belongs_to_another_user(request, sociallogin) or _belongs_to_inactive_user(sociallogin):
        provider, owner = sociallogin.account.provider, user_id_of(sociallogin.user)
        revoke_unused(request, provider, token_set, owner)
    if _is_own_account(request, sociallogin):
        provider = sociallogin.account.provider
        held = vault.load_token_set(request.session, provider)
        token_set = token_set.keeping_refresh_token(vault.unless_ended(services(), provider, held))
        if sociallogin.state.get("process") not in {AuthProcess.CONNECT, AuthProcess.REDIRECT}:
            _require_room(request, provider, token_set, held)
            sociallogin.state[OTHERS] = others = _other_token_sets(request, sociallogin)
            for name, data in others.items():
                keep_grant(request, name, data["subject"])
    sociallogin.state[STATE] = token_set.to_session()


@receiver(user_logged_in, dispatch_uid="oauth.keep_sign_in")
def store_sign_in(
    request: HttpRequest,
    user: AbstractBaseUser,
    sociallogin: SocialLogin | None = None,
    **kwargs: Any,
) -> None:
    """Store the tokens of a person who has just signed in, and those of the previous session."""
    if sociallogin is None or sociallogin.user != user:
        return
    count_sign_in(sociallogin.account.provider)
    for provider, token_set in _carried_token_sets(request, sociallogin).items():
        if vault.load_token_set(request.session, provider) is None:
            _store(request, provider, token_set)
    _store_and_link(request, sociallogin)


@receiver(social_account_added, dispatch_uid="oauth.keep_added")
@receiver(social_account_updated, dispatch_uid="oauth.keep_updated")
def store_connection(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """Store the tokens of an account that was connected, or connected again.

    Raises ImmediateHttpResponse if it was disconnected meanwhile, SessionInterrupted and
    SessionTooLarge.
    """
    if sociallogin.state.get("process") == AuthProcess.CONNECT and _is_own_account(
        request, sociallogin
    ):
        replaced = _store_and_link(request, sociallogin)
        _require_stored(request, sociallogin, replaced)


@receiver(social_account_removed, dispatch_uid="oauth.drop_removed")
def drop_disconnected(request: HttpRequest, socialaccount: SocialAccount, **kwargs: Any) -> None:
    """Drop the tokens of an account that was disconnected."""
    provider, subject = socialaccount.provider, socialaccount.uid
    remove_tokens(services(), request, provider, subject, is_disconnected=True)


def _store_and_link(request: HttpRequest, sociallogin: SocialLogin) -> TokenSet | None:
    """Store the tokens of the exchange; return those that they replace."""
    token_set = _captured_token_set(sociallogin)
    if token_set is None:
        return None
    rights.update_rights(sociallogin.account, token_set.groups)
    provider = sociallogin.account.provider
    held = vault.load_token_set(request.session, provider)
    kept = vault.unless_ended(services(), provider, held)
    _store(request, provider, token_set.keeping_refresh_token(kept))
    if held is not None:
        revoke_later(request, provider, held)
    return held


def _require_stored(
    request: HttpRequest, sociallogin: SocialLogin, replaced: TokenSet | None
) -> None:
    """Save the session with the tokens of a connected account.

    Raises ImmediateHttpResponse, SessionInterrupted and SessionTooLarge.
    """
    __traceback_hide__ = True
    provider = sociallogin.account.provider
    held = vault.load_token_set(request.session, provider)
    if held is None or save_or_revoke(services(), request.session, provider, held, replaced):
        return
    text = _("%(server)s was disconnected meanwhile, and stays disconnected.")
    label = sociallogin.account.get_provider().name
    messages.info(request, text % {"server": label})
    raise ImmediateHttpResponse(HttpResponseRedirect(resolve_url("home")))


def _store(request: HttpRequest, provider: str, token_set: TokenSet) -> None:
    vault.store_token_set(request.session, provider, token_set)
    session_links.link_session(request.session, provider, token_set)


def _require_room(
    request: HttpRequest, provider: str, token_set: TokenSet, held: TokenSet | None
) -> None:
    """Raise SessionFull if the tokens of a sign-in do not fit beside those that it takes along.

    Nobody will hold them then, so they are revoked, unless those of the session could end too.
    """
    __traceback_hide__ = True
    try:
        vault.require_room(request.session, provider, token_set)
    except SessionFull:
        if not token_set.may_end_with(held):
            revoke_unused(request, provider, token_set, request.session.get(SESSION_KEY))
        raise


def _other_token_sets(request: HttpRequest, sociallogin: SocialLogin) -> dict[str, Any]:
    held = vault.other_token_sets(request.session, sociallogin.account.provider)
    return {name: token_set.to_session() for name, token_set in held.items()}


def _carried_token_sets(request: HttpRequest, sociallogin: SocialLogin) -> dict[str, TokenSet]:
    """Return the other token sets of the session that the sign-in ended, as they were at its end.

    Another request may have disconnected an account since, or connected it again.
    """
    carried = sociallogin.state.pop(OTHERS, {})
    if not carried:
        return {}
    ended = getattr(request.session, "ended_content", None)
    if ended is None:  # Nobody has changed it since.
        return {name: TokenSet.from_session(data) for name, data in carried.items()}
    newest = vault.other_token_sets(ended, sociallogin.account.provider)
    for name, token_set in newest.items():
        keep_grant(request, name, token_set.subject)
    return newest


def _captured_token_set(sociallogin: SocialLogin) -> TokenSet | None:
    """Return the token set from the exchange; a resumed sign-in has it only in its state."""
    if STATE in sociallogin.state:
        return TokenSet.from_session(sociallogin.state[STATE])
    captured: TokenSet | None = getattr(sociallogin, "token_set", None)
    return captured


def _belongs_to_another_user(request: HttpRequest, sociallogin: SocialLogin) -> bool:
    """Return True if somebody tries to connect another user's account, which allauth rejects."""
    connects = sociallogin.state.get("process") == AuthProcess.CONNECT
    return bool(connects and sociallogin.is_existing and sociallogin.user != request.user)


def _belongs_to_inactive_user(sociallogin: SocialLogin) -> bool:
    """Return True if allauth rejects a sign-in because of its user. A consent checks it itself."""
    signs_in = sociallogin.state.get("process") not in {AuthProcess.CONNECT, AuthProcess.REDIRECT}
    return bool(signs_in and sociallogin.is_existing and not sociallogin.user.is_active)


def _is_own_account(request: HttpRequest, sociallogin: SocialLogin) -> bool:
    return request.user.is_authenticated and sociallogin.user == request.user
