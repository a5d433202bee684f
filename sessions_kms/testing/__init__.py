"""A test kit: the real engine over a DynamoDB and a KMS in memory.

`SESSION_ENGINE = "sessions_kms.testing.backend"` in the settings of tests switches to it. Nothing
else of this package does. Each name is imported on its first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_kms.testing.memory_store import MemoryStore, SessionStoreMixin, store

__all__ = ["MemoryStore", "SessionStoreMixin", "store"]

MODULE = "sessions_kms.testing.memory_store"

if not TYPE_CHECKING:  # type checkers use the imports above, so that they reject unknown names

    def __getattr__(name: str) -> object:
        """Import a name on first use. Raises AttributeError for any other."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - nothing is imported before it is used

        return getattr(import_module(MODULE), name)
