"""Which session an access token opens, remembered for a minute, so that a call is one read.

Ids of tokens' items enter, never a token. The session itself is read at each call: a grant that
has ended is not known here to have, and opens nothing all the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from oauth.clients.sealed_grant import Previous

KEPT = 60  # seconds
KNOWN_MAX = 10_000
FORGOTTEN_MAX = 10_000


@dataclass(frozen=True, repr=False)
class KnownGrant:
    """What an access token opens. ``ends_at`` is in epoch seconds, of the token.

    ``items`` are the ids of the items that it names, to be deleted with the grant.
    """

    key: str
    upstream: str
    ends_at: int
    previous: Previous | None
    items: tuple[str, ...] = ()


class KnownGrants:
    """The grants of the tokens that were shown lately. ``clock`` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[float, KnownGrant]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def find(self, token_id: str) -> KnownGrant | None:
        """Return what is remembered of a token that has not ended."""
        now = self._clock()
        with self._lock:
            until, known = self._known.get(token_id, (0.0, None))
            # No longer than that, should the clock be set back.
            if known is not None and now < until <= now + KEPT and now < known.ends_at:
                return known
            self._known.pop(token_id, None)
            return None

    def keep(self, token_id: str, known: KnownGrant) -> None:
        """Remember it from now on."""
        now = self._clock()
        with self._lock:
            self._known.pop(token_id, None)
            self._known[token_id] = (now + KEPT, known)
            while len(self._known) > KNOWN_MAX or next(iter(self._known.values()))[0] <= now:
                self._known.popitem(last=False)

    def is_forgotten(self, spent: str) -> bool:
        """Tell whether the answer to a spent token was deleted from here."""
        return spent in self._forgotten

    def forgot(self, spent: str) -> None:
        """Remember that it was."""
        with self._lock:
            self._forgotten[spent] = None
            if len(self._forgotten) > FORGOTTEN_MAX:
                self._forgotten.popitem(last=False)
