"""A module that is imported when a name of it is first used.

A module's name enters. A type checker is told of the module itself: see `sessions_kms.backend`.
"""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module. After its import it has the same names, at the cost of an attribute.

    Threads that use it first at once wait for one import, as Python's own do.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        """Import the module, and have what it has. Raises AttributeError for any other name."""
        names = vars(import_module(self.__name__))
        vars(self).update(names)
        if name not in names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return names[name]


def is_imported(module: object) -> bool:
    """Return True if a lazy module has been imported, without that it is."""
    return "__spec__" in vars(module)
