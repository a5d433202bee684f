"""Session dict -> serializer bytes, and back, with nothing of either in an error.

A serializer's own traceback would lead an error report to the whole session, so
its errors are told anew, outside of its frames.
"""

from collections.abc import Callable
from functools import lru_cache
from json import JSONDecoder, JSONEncoder
from types import FunctionType
from typing import Any, Final, Protocol

from sessions_kms.exceptions import InvalidRecord

DJANGOS: Final = "django.core.signing", "JSONSerializer"  # its default; this room knows no Django


class Serializer(Protocol):
    """What SESSION_SERIALIZER names: a class, made without arguments."""

    def dumps(self, obj: dict[str, Any]) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


class Codec:
    """One serializer, made anew for each use, as Django does: it may keep something meanwhile."""

    def __init__(self, serializer: Callable[[], Serializer]) -> None:
        self._serializer = serializer

    def dumps(self, session: dict[str, Any]) -> bytes:
        """Serialize a session. Raises TypeError, naming the key whose value cannot be."""
        __traceback_hide__ = True
        serializer = self._serializer()  # One that cannot be made is no fault of the session's.
        try:
            return serializer.dumps(session)
        except Exception:  # noqa: BLE001, S110 - told below, without the serializer's frames
            pass
        raise TypeError(
            "SESSION_SERIALIZER cannot serialize what the session holds under"
            f" {', '.join(self._faulty(session)) or 'its keys'}."
        )

    def loads(self, payload: bytes) -> dict[str, Any]:
        """Read a serialized session. Raises InvalidRecord."""
        __traceback_hide__ = True
        serializer = self._serializer()  # The same; else it would sign everybody out.
        try:
            session = serializer.loads(payload)
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
            self._serializer().dumps({key: value})
        except Exception:  # noqa: BLE001 - the question is only whether
            return False
        return True


class DjangosJSON:
    """What Django's own serializer writes and reads, to the byte.

    That makes an encoder each time, since it asks `json.dumps` for short separators, and looks
    for blanks that are never there.
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
            found, end = self._decoder.raw_decode(text)
            if end == len(text):
                return found
        except ValueError:
            pass
        return self._decoder.decode(text)  # with blanks around it, or wrong: then it says so


@lru_cache(maxsize=16)
def codec_of(serializer: type[Serializer]) -> Codec:
    """Return the codec of a serializer, one for all sessions."""
    return Codec(_Quick(serializer) if _is_djangos(serializer) else serializer)


class _Quick:
    """Gives ours in the place of Django's, but while a project has that patched."""

    def __init__(self, djangos: type[Serializer]) -> None:
        self._ours = DjangosJSON()
        self._djangos, self._dumps, self._loads = djangos, djangos.dumps, djangos.loads

    def __call__(self) -> Serializer:
        djangos = self._djangos
        is_as_it_was = djangos.dumps is self._dumps and djangos.loads is self._loads
        return self._ours if is_as_it_was else djangos()


def _is_djangos(serializer: type[Serializer]) -> bool:
    """Return True if it is Django's own, and as Django has it: a project may have patched it."""
    module, name = DJANGOS
    is_named = getattr(serializer, "__qualname__", None) == name
    return is_named and all(
        _is_written_in(module, getattr(serializer, verb, None)) for verb in ("dumps", "loads")
    )


def _is_written_in(module: str, part: object) -> bool:
    """Return True if a module has this function; a wrapper only takes over what one is called."""
    return type(part) is FunctionType and part.__globals__.get("__name__") == module
