"""The session methods whose arguments may be secrets, with their frames kept out of reports.

Django's error report, with DEBUG on and off, shows the local variables of each
frame but those with ``__traceback_hide__``; `sensitive_variables` would work with
DEBUG off only. Loading comes first, so that no frame of Django's holds a value
while something can fail.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase


class Redaction(SessionBase):
    """Django's session, whose methods keep values, and defaults for them, to themselves."""

    if TYPE_CHECKING:  # Missing in Django's stubs.

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    def __setitem__(self, key: str, value: Any) -> None:
        __traceback_hide__ = True
        self._get_session()
        super().__setitem__(key, value)

    def get(self, key: str, default: Any = None) -> Any:
        __traceback_hide__ = True
        return self._get_session().get(key, default)

    def pop(self, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        self._get_session()
        return super().pop(*args, **kwargs)

    def setdefault(self, key: str, value: Any) -> Any:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        self._get_session()
        return super().setdefault(key, value)

    def update(self, dict_: Mapping[str, Any]) -> None:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        self._get_session()
        super().update(dict_)

    async def aset(self, key: str, value: Any) -> None:
        __traceback_hide__ = True
        await self._aget_session()
        await super().aset(key, value)

    async def aget(self, key: str, default: Any = None) -> Any:
        __traceback_hide__ = True
        return (await self._aget_session()).get(key, default)

    async def apop(self, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        await self._aget_session()
        return await super().apop(*args, **kwargs)

    async def asetdefault(self, key: str, value: Any) -> Any:
        __traceback_hide__ = True
        await self._aget_session()
        return await super().asetdefault(key, value)

    async def aupdate(self, dict_: Mapping[str, Any]) -> None:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        await self._aget_session()
        await super().aupdate(dict_)
