"""From session dict to serialized bytes and back; errors contain nothing of the content.

The traceback of a serializer would show the whole session in an error report, so new errors are
raised outside of its frames.
"""

from collections.abc import Callable
from functools import lru_cache
from json import JSONDecoder, JSONEncoder
from types import FunctionType
from typing import Any, Final, Protocol

from sessions_kms.exceptions import InvalidRecord

DJANGOS: Final = (
    "django.core.signing",
    "JSONSerializer",
)  # the default serializer; this package does not import Django


class Serializer(Protocol):
    """A class named by SESSION_SERIALIZER, created without arguments."""

    def dumps(self, obj: dict[str, Any]) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


class Codec:
    """One serializer. Like Django, it creates an instance for each use, which may have state."""

    def __init__(self, serializer: Callable[[], Serializer]) -> None:
        self._serializer = serializer

    def dumps(self, session: dict[str, Any]) -> bytes:
        """Serialize a session. Raises TypeError with the keys whose values are not serializable."""
        __traceback_hide__ = True
        serializer = self._serializer()  # Raises the constructor's own error.
        try:
            return serializer.dumps(session)
        except Exception:  # noqa: BLE001, S110 - reported below, without the serializer's frames
            pass
        raise TypeError(
            "SESSION_SERIALIZER cannot serialize the session's values under"
            f" {', '.join(self._find_faulty(session)) or 'its keys'}."
        )

    def loads(self, payload: bytes) -> dict[str, Any]:
        """Read a serialized session. Raises InvalidRecord."""
        __traceback_hide__ = True
        serializer = self._serializer()  # An error of the constructor must not sign everybody out.
        try:
            session = serializer.loads(payload)
        except Exception:  # noqa: BLE001 - the same
            session = None
        if not isinstance(session, dict):
            raise InvalidRecord("payload")
        return session

    def _find_faulty(self, session: dict[str, Any]) -> list[str]:
        __traceback_hide__ = True
        return [
            repr(key) for key, value in session.items() if not self._is_serializable(key, value)
        ]

    def _is_serializable(self, key: str, value: Any) -> bool:
        __traceback_hide__ = True
        try:
            self._serializer().dumps({key: value})
        except Exception:  # noqa: BLE001 - only the fact matters
            return False
        return True


class DjangosJSON:
    """A faster serializer with the same input and output as Django's own.

    Django's creates an encoder for each call, because of its separators, and skips whitespace that
    is never there.
    """

    _encode = JSONEncoder(separators=(",", ":")).encode
    _decoder = JSONDecoder()

    def dumps(self, obj: dict[str, Any]) -> bytes:
        __traceback_hide__ = True
        return self._encode(obj).encode("latin-1")

    def loads(self, data: bytes) -> Any:
        __traceback_hide__ = True
        text = data.decode("latin-1")
        try:
            value, end = self._decoder.raw_decode(text)
            if end == len(text):
                return value
        except ValueError:
            pass
        return self._decoder.decode(
            text
        )  # surrounded by whitespace; or invalid, then it raises the error


@lru_cache(maxsize=16)
def codec_of(serializer: type[Serializer]) -> Codec:
    """Return the codec of a serializer, one for all sessions."""
    return Codec(_Quick(serializer) if _is_djangos(serializer) else serializer)


class _Quick:
    """Creates our serializer instead of Django's, unless a project has patched Django's."""

    def __init__(self, djangos: type[Serializer]) -> None:
        self._ours = DjangosJSON()
        self._djangos, self._dumps, self._loads = djangos, djangos.dumps, djangos.loads

    def __call__(self) -> Serializer:
        djangos = self._djangos
        is_unpatched = djangos.dumps is self._dumps and djangos.loads is self._loads
        return self._ours if is_unpatched else djangos()


def _is_djangos(serializer: type[Serializer]) -> bool:
    """Return True if it is Django's own serializer, unpatched."""
    module, name = DJANGOS
    is_named = getattr(serializer, "__qualname__", None) == name
    return is_named and all(
        _is_written_in(module, getattr(serializer, verb, None)) for verb in ("dumps", "loads")
    )


def _is_written_in(module: str, part: object) -> bool:
    """Return True if a function is defined in a module: a wrapper only copies its name."""
    return type(part) is FunctionType and part.__globals__.get("__name__") == module
