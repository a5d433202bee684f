"""Session dict -> serializer bytes, and back, with nothing of either in an error.

A serializer's own traceback would lead an error report to the whole session, so
its errors are told anew, outside of its frames.
"""

from typing import Any, Protocol

from sessions_kms.exceptions import InvalidRecord


class Serializer(Protocol):
    """What SESSION_SERIALIZER names: a class, made without arguments."""

    def dumps(self, obj: dict[str, Any]) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


class Codec:
    """One serializer."""

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer

    def dumps(self, session: dict[str, Any]) -> bytes:
        """Serialize a session. Raises TypeError, naming the key whose value cannot be."""
        __traceback_hide__ = True
        try:
            return self._serializer.dumps(session)
        except Exception:  # noqa: BLE001, S110 - told below, without the serializer's frames
            pass
        raise TypeError(
            "SESSION_SERIALIZER cannot serialize what the session holds under"
            f" {', '.join(self._faulty(session)) or 'its keys'}."
        )

    def loads(self, payload: bytes) -> dict[str, Any]:
        """Read a serialized session. Raises InvalidRecord."""
        __traceback_hide__ = True
        try:
            session = self._serializer.loads(payload)
        except Exception:  # noqa: BLE001 - the same
            session = None
        if not isinstance(session, dict):
            raise InvalidRecord("payload")
        return session

    def _faulty(self, session: dict[str, Any]) -> list[str]:
        __traceback_hide__ = True
        return [repr(key) for key, value in session.items() if not self._takes(key, value)]

    def _takes(self, key: str, value: Any) -> bool:
        __traceback_hide__ = True
        try:
            self._serializer.dumps({key: value})
        except Exception:  # noqa: BLE001 - the question is only whether
            return False
        return True
