"""A module that is imported when a name of it is first used.

For a type checker, import the module under TYPE_CHECKING: see `sessions_kms.backend`.
"""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module. After its import it has the same names, at the cost of an attribute.

    Threads that use it first at the same time wait for one import, as Python's imports do.
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
