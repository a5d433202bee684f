"""Scopes that an MCP server demanded in response to a client's call, until its next consent.

A grant's session cannot be decrypted without the client, so the scopes are kept in the grant's
labels. When the person disconnects the app, they are kept in the browser's session, where the next
consent finds them. Only what fits into the labels is kept: a server may demand more and more.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from textwrap import wrap

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from oauth.clients import live_grants
from oauth.clients.consent import WANTED, GrantLabels
from oauth.clients.rules.client import LABEL_MAX
from oauth.connect.wanted_scopes import SCOPE, SCOPES_MAX
from oauth.tokens import vault
from sessions_kms import GrantStore, about
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services

SESSION_KEY = "oauth_wanted_by_apps"  # of the browser's session: scopes by `_name_of`
APPS_MAX = 10


async def demand_scopes(grant: GrantStore, server: str, scopes: Iterable[str]) -> bool:
    """Keep scopes that a server demanded for the app's next consent.

    Return False if that would not help: if all of them were requested already, or if they do not
    fit. Raises SessionFull and StoreUnavailable.
    """
    __traceback_hide__ = True
    held = vault.load_token_set(grant, server)
    valid = [each for each in scopes if SCOPE.fullmatch(each)]
    if held is None or set(valid) <= {*held.requested_scope, *held.scope}:
        return False
    stored = GrantStore(grant.session_key)
    if not await stored.load_grant():
        return True  # It has ended: the next call is rejected.
    labels: dict[str, str] = stored.get(about.ABOUT, {})
    packed = _pack((*_unpack(labels), *valid))
    if packed is None:
        return False
    if labels | packed != labels:
        stored[about.ABOUT] = labels | packed
        with suppress(UpdateError), vault.naming_largest(stored):
            await stored.save_grant()
    return True


def remember(session: SessionBase, ended: GrantLabels) -> None:
    """Keep in the browser's session what an app wanted that was disconnected in it."""
    if not ended.wanted:
        return
    kept = dict(session.get(SESSION_KEY, {}))
    kept.pop(_name_of(ended), None)
    while len(kept) >= APPS_MAX:
        del kept[next(iter(kept))]
    session[SESSION_KEY] = kept | {_name_of(ended): list(ended.wanted)}


def forget(session: SessionBase, app: GrantLabels) -> None:
    """Forget it, once the person has allowed the app again."""
    kept = dict(session.get(SESSION_KEY, {}))
    if kept.pop(_name_of(app), None) is not None:
        session[SESSION_KEY] = kept


def find_wanted(
    session: SessionBase, user_id: str, apps: Mapping[str, GrantLabels]
) -> dict[str, tuple[str, ...]]:
    """Return the scopes that the person's apps wanted before, by the keys of ``apps``.

    Reads the person's grants once, however many apps these are. Raises StoreUnavailable.
    """
    if not apps:
        return {}
    found: dict[str, list[str]] = {
        name: list(wanted) for name, wanted in session.get(SESSION_KEY, {}).items()
    }
    for grant in run_sync(live_grants.list_grants(services(), user_id)):
        found.setdefault(_name_of(grant.labels), []).extend(grant.labels.wanted)
    return {
        key: tuple(dict.fromkeys(found.get(_name_of(app), ())))[:SCOPES_MAX]
        for key, app in apps.items()
    }


def _name_of(app: GrantLabels) -> str:
    """Return the name of an app at an upstream, which stays if it registers again.

    Two programs that call themselves the same have the same name: the consent page names the
    scopes.
    """
    named = json.dumps([app.client, app.host, app.redirect_host, app.upstream])
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _pack(scopes: Iterable[str]) -> dict[str, str] | None:
    """Return the labels of scopes; None if they do not fit."""
    distinct = tuple(dict.fromkeys(scopes))
    lines = wrap(" ".join(distinct), LABEL_MAX, break_long_words=False, break_on_hyphens=False)
    is_short = all(len(line) <= LABEL_MAX for line in lines)
    if len(distinct) > SCOPES_MAX or len(lines) > len(WANTED) or not is_short:
        return None
    return dict(zip(WANTED, lines, strict=False))


def _unpack(labels: Mapping[str, str]) -> tuple[str, ...]:
    found = GrantLabels.from_labels(labels)
    return () if found is None else found.wanted
