"""Read the gateway's variables, each with an error that names the variable.

What enters is text from the environment; what leaves are the values of
`settings.py`. A value is never repeated in an error, since it may be a secret.

Not read by django-environ, to which a value that starts with "$" is another variable's name, and
a misspelt switch is off (docs/contributing/libraries.md).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
# A whole number of any other program, too: https://www.rfc-editor.org/rfc/rfc8259#section-6
NUMBER = re.compile("[0-9]{1,16}")
NUMBER_MAX = 2**53 - 1


class Variables:
    """Variables whose names begin alike; each is asked for by the rest of its name."""

    def __init__(self, environment: Mapping[str, str], prefix: str = "") -> None:
        self._environment = environment
        self._prefix = prefix

    def under(self, prefix: str) -> Variables:
        """Return those whose names go on so."""
        return Variables(self._environment, self._prefix + prefix)

    def variable(self, suffix: str) -> str:
        """Return the whole name of a variable."""
        return self._prefix + suffix

    def error(self, suffix: str, what: str) -> ImproperlyConfigured:
        """Return an error that begins with the variable's name."""
        return ImproperlyConfigured(f"{self.variable(suffix)} {what}")

    def refuse(self, suffixes: Iterable[str], why: str) -> None:
        """Raise ImproperlyConfigured for the first of these variables that is set."""
        for suffix in suffixes:
            if self.text(suffix):
                raise self.error(suffix, why)

    def missing(self, suffixes: Iterable[str]) -> list[str]:
        """Return those that are unset or empty."""
        return [suffix for suffix in suffixes if not self.text(suffix)]

    def text(self, suffix: str) -> str:
        """Return the variable without surrounding blanks, empty where it is unset."""
        return self._environment.get(self.variable(suffix), "").strip()

    def items(self, suffix: str) -> list[str]:
        """Return what commas separate, without blanks and empty entries."""
        return [item.strip() for item in self.text(suffix).split(",") if item.strip()]

    def words(self, suffix: str) -> tuple[str, ...]:
        """Return what commas or blanks separate."""
        return tuple(filter(None, re.split(r"[\s,]+", self.text(suffix))))

    def flag(self, suffix: str) -> bool | None:
        """Return whether a switch is on, None where it is unset."""
        found = self.switch(suffix, (), "must be 1 or 0 (also true/false, yes/no, on/off).")
        return None if found is None else bool(found)

    def switch(self, suffix: str, words: Collection[str], what: str) -> bool | str | None:
        """Return whether a switch is on, or which of the words it has; None where it is unset.

        A misspelt value is an error, not "off".
        """
        value = self.text(suffix).lower()
        if value and value not in {*TRUE, *FALSE, *words}:
            raise self.error(suffix, what)
        return value if value in words else (value in TRUE if value else None)

    def number(
        self, suffix: str, what: str, *, minimum: int = 0, maximum: int = NUMBER_MAX
    ) -> int | None:
        """Return a whole number within these bounds, None where the variable is empty."""
        value = self.text(suffix)
        if not value:
            return None
        if not NUMBER.fullmatch(value) or not minimum <= int(value) <= maximum:
            raise self.error(suffix, what)
        return int(value)

    def whole_number(
        self, suffix: str, default: int, *, minimum: int = 0, maximum: int | None = None
    ) -> int:
        """Return a whole number, or the default where the variable is empty."""
        if maximum is None:
            what = f"must be a whole number, {minimum} or more, such as 604800."
            found = self.number(suffix, what, minimum=minimum)
        else:
            what = f"must be a whole number, from {minimum} to {maximum}."
            found = self.number(suffix, what, minimum=minimum, maximum=maximum)
        return default if found is None else found

    def folder(self, suffix: str) -> Path | None:
        """Return a folder that there is; None where the variable is empty."""
        value = self.text(suffix)
        if value and not Path(value).is_dir():
            raise self.error(suffix, "names no folder that there is.")
        return Path(value) if value else None

    def ca_file(self, suffix: str) -> str | None:
        """Return the path of a file of certificates; None where the variable is empty."""
        path = self.text(suffix)
        if not path:
            return None
        try:
            ssl.create_default_context(cafile=path)
        except (OSError, ValueError):  # an SSLError is an OSError
            raise self.error(
                suffix,
                "must be a readable PEM file with the certificates of one or more authorities.",
            ) from None
        return path
