"""A module that is imported when one of its names is first used.

A process that only imports the engine, such as a command, saves about 30 ms of CPU and 9 MB.
For a type checker, import the module under TYPE_CHECKING: see `sessions_kms.backend`.
"""

from importlib import import_module
from typing import Any


class LazyModule:
    """A placeholder for a module. After the import it has the module's names as attributes.

    Threads that use it for the first time at once wait for one import, as with Python's imports.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        """Import the module, and copy its names. Raises AttributeError for any other name."""
        names = vars(import_module(self.__name__))
        vars(self).update(names)
        if name not in names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return names[name]


def is_imported(module: object) -> bool:
    """Return True if a lazy module has been imported; do not import it."""
    return "__spec__" in vars(module)
