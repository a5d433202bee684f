"""The names that a package offers, each imported at its first use.

Takes a package's name and its table of names, and gives its `__getattr__`. Knows none of the names,
and imports nothing before one is asked for.
"""

from collections.abc import Callable, Mapping
from typing import Any


def offering(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` that gives each name from its home, a path within the package.

    After the colon of a path stands what the name is called there. Raises AttributeError for
    any other name.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - that is what it becomes
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from pkgutil import resolve_name  # noqa: PLC0415 - nor is this imported before

        return resolve_name(f"{package}.{homes[name]}")

    return __getattr__
