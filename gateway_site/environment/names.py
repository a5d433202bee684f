"""Names of variables, whatever they are of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from django.core.exceptions import ImproperlyConfigured

FILE = "_FILE"  # ends the variable that names the file which holds a secret

# What Kubernetes tells every container of the services beside it. One may be called as a
# provider or an upstream is here.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(
    r".+_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)"
    r"(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return the name that is spelt most alike, if at least so alike (0 to 1)."""
    found = difflib.get_close_matches(name, sorted(known), 1, cutoff)
    return found[0] if found else None


def declared(environment: Mapping[str, str], kind: str, suffixes: Sequence[str]) -> list[str]:
    """Return the <NAME>s whose variable `<KIND>_<NAME>_<first suffix>` is set.

    Raises ImproperlyConfigured for one of their variables that has none of the suffixes.
    """
    first = re.compile(rf"{kind}_([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)_{suffixes[0]}")
    names = sorted(
        match[1]
        for variable, value in environment.items()
        if (match := first.fullmatch(variable)) and value.strip()
    )
    _refuse_unknown(environment, kind, names, suffixes)
    return names


def _refuse_unknown(
    environment: Mapping[str, str], kind: str, names: Iterable[str], suffixes: Sequence[str]
) -> None:
    """Raise ImproperlyConfigured for a variable that begins with one of the names and is not its.

    It may be that of another, longer name, whose first variable is at least mentioned.
    """
    first = f"_{suffixes[0]}"
    mentioned = [
        variable.removesuffix(first)
        for variable in environment
        if variable.startswith(f"{kind}_") and variable.endswith(first)
    ]
    known = {f"{owner}_{suffix}" for owner in mentioned for suffix in suffixes}
    owners = tuple(f"{kind}_{name}_" for name in names)
    for variable in sorted(environment):
        if (
            variable.startswith(owners)
            and variable not in known
            and not SERVICE_LINK.fullmatch(variable)
        ):
            raise ImproperlyConfigured(
                f"{variable} is no variable that is known: those of {kind}_<NAME> end in "
                f"{', '.join(suffixes)}, right after a name that has the first of them. "
                f"The nearest is {nearest(variable, known, 0)}."
            )
