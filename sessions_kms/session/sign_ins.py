"""Sign-ins: from when the absolute timeout of a session counts."""

from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase

if TYPE_CHECKING:
    from sessions_kms.session.repository import LoadedVersion


class SignIns(SessionBase):
    """A session whose absolute timeout restarts when somebody signs in (`user_logged_in`)."""

    _signed_in = False  # since it was loaded or stored

    if TYPE_CHECKING:
        _session_cache: dict[str, Any]

        def _get_baseline(self, session_key: str | None) -> "LoadedVersion | None": ...

    def created(self) -> int | None:
        """Return when the absolute timeout began, in epoch seconds; None for an unsaved session."""
        if (base := self._get_baseline(self.session_key)) is None:
            return None
        user_id = self._session_cache.get(USER_ID) if hasattr(self, "_session_cache") else None
        begins_anew = base.is_followed_by_sign_in(user_id, signed_in=self._signed_in)
        return None if begins_anew else base.created_at

    def ends_at(self) -> int | None:
        """Return when the session ends without another visit; None for an unsaved session.

        In epoch seconds, as stored when it was loaded or saved last.
        """
        base = self._get_baseline(self.session_key)
        return None if base is None else base.ttl


def _note_sign_in(*, request: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SignIns):
        session._signed_in = True
        session.modified = True


user_logged_in.connect(_note_sign_in, dispatch_uid="sessions_kms.backend")
