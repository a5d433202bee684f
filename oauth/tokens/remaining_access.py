"""Whether a user has other access whose tokens a revocation at the provider would end as well.

Many providers keep one grant for each user and client, or for each of their own sessions, and
revoke all of its tokens together. A session's tokens cannot be read without its cookie. So every
other live session of a browser counts, and a grant of an OAuth client counts for the provider or
MCP server that its labels name.
"""

from collections.abc import Collection
from threading import Lock

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase

from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from sessions_kms import StoreUnavailable, about, id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.other_sessions import OtherSessions
from sessions_kms.services import Services

PROVIDER_LABEL = "provider"  # of a grant, in its session metadata
FRESH_SECONDS = 1.0  # for which a result counts: the user may have signed in again since


class RemainingAccess:
    """A user's access beside the sessions and grants that are ending.

    Nothing is read before `includes` is called, and then once for all providers, again only after
    FRESH_SECONDS.
    """

    def __init__(
        self,
        services: Services,
        user_id: str | None,
        ending_ids: Collection[str] = (),
        *,
        current: SessionBase | None = None,
    ) -> None:
        """``user_id`` is None for somebody who is no user here: nothing remains.

        The ``current`` session can be decrypted. So it counts only while it holds tokens of the
        same account: it goes on, and the user may connect the account again.
        """
        self._services = services
        self._user_id = user_id
        self._ending_ids = ending_ids
        self._current = current
        self._lock = Lock()
        self._found: list[about.Labels] = []
        self._error: StoreUnavailable | None = None
        self._read_at: float | None = None

    @classmethod
    def beside(
        cls, services: Services, session: SessionBase, *, goes_on: bool = False
    ) -> "RemainingAccess":
        """Return a user's access beside their loaded session, or grant: it ends, or goes on."""
        __traceback_hide__ = True
        key = session.session_key
        ending = () if key is None else (id_of(key),)
        current = session if goes_on else None
        return cls(services, session.get(SESSION_KEY), ending, current=current)

    def includes(self, provider: str, token_set: TokenSet) -> bool:
        """Return True if anything live may hold tokens that end with a provider's token set.

        Raises StoreUnavailable if that cannot be read, other sessions within ten seconds.
        """
        __traceback_hide__ = True
        if self._is_held_now(provider, token_set):
            return True
        with self._lock:
            if self._user_id and not self._is_fresh():
                self._read(self._user_id)
            if self._error is not None:
                raise self._error
            found = self._found
        name = provider[: about.LABEL_LENGTH_MAX]
        return any(
            not about.are_of_grant(labels) or labels.get(PROVIDER_LABEL) == name for labels in found
        )

    def _is_held_now(self, provider: str, token_set: TokenSet) -> bool:
        __traceback_hide__ = True
        if self._current is None or self._current.session_key is None:
            return False
        stored = type(self._current)(self._current.session_key)
        return token_set.may_end_with(vault.load_token_set(stored, provider))

    def _is_fresh(self) -> bool:
        if self._read_at is None:
            return False
        return abs(self._services.clock() - self._read_at) <= FRESH_SECONDS

    def _read(self, user_id: str) -> None:
        self._error = None
        try:
            self._found = run_sync(OtherSessions(self._services, user_id, self._ending_ids).find())
        except StoreUnavailable as exc:
            self._error = exc
        self._read_at = self._services.clock()
