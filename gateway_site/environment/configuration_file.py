"""The file that `GATEWAY_CONFIG` names: variables under their own names, in one TOML table.

The values never become part of the process's environment: a new worker would inherit old ones.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway_site.environment.gateway_variables import GatewayVariables
from gateway_site.environment.variable import FILE, InvalidValue, Variable, read_text_file

NAME: Final = GatewayVariables.gateway_config.name
DATABASE_URL: Final = GatewayVariables.database_url.name
# What decides how the other variables are read, or is for `runlocal` alone.
ENVIRONMENT_ONLY: Final = frozenset({NAME, GatewayVariables.gateway_local.name})
NEWLINE, END = "\n", "at end of document"
SIZE_MAX: Final = 1024 * 1024  # bytes
MISPLACED: Final = (
    "holds a secret, which must not be in this file: use {name}_FILE here, or the environment."
)
SECRET_OPTION: Final = re.compile("pass|secret|scram", re.IGNORECASE)
TYPES: Final = "must be a string, a whole number, true, false, or a list of strings."


class InvalidFile(ValueError):
    """The file cannot be read as a whole; the message continues "GATEWAY_CONFIG: <path>: "."""


def read_table(path: str) -> dict[str, Any]:
    """Return the table of a file. Raises InvalidFile, whose message repeats no value."""
    try:
        text = read_text_file(Path(path), SIZE_MAX)
    except ValueError as error:
        raise InvalidFile(str(error)) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # names the line and the column, but not of the end
        end = f"at line {text.count(NEWLINE) + 1}, column {len(text) - text.rfind(NEWLINE)}"
        raise InvalidFile(f"{str(error).replace(END, f'{end}, the end')}.") from None
    except (ValueError, RecursionError):
        raise InvalidFile("the file has a number that is too long, or too many levels.") from None


def to_text(name: str, value: object, declared: Variable[Any]) -> str:
    """Return a value as the variable's text. Raises InvalidValue."""
    if isinstance(value, dict):
        raise InvalidValue("is a table: the file has no sections, and no dots in names.")
    if isinstance(value, list):
        return ",".join(_entries(name, value, declared))
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, str | int):
        raise InvalidValue(TYPES)
    text = str(value)
    if "\0" in text:
        raise InvalidValue("must not contain the character NUL.")
    if holds_secret(name, text, declared):
        raise InvalidValue(MISPLACED.format(name=name))
    return text


def holds_secret(name: str, text: str, declared: Variable[Any]) -> bool:
    """Return True if a value is a secret; the path of a secret's file is none."""
    if not declared.secret or name.endswith(FILE) or not text.strip():
        return False
    return name != DATABASE_URL or _has_password(text)


def _has_password(url: str) -> bool:
    """Return True unless it is certain that a database URL has no password.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        return parts.password is not None or any(map(SECRET_OPTION.search, options))
    except ValueError:
        return True


def _entries(name: str, value: list[object], declared: Variable[Any]) -> Iterator[str]:
    """Yield the entries of a list as they are written between commas. Raises InvalidValue."""
    if not declared.takes_list or (declared.secret and name.endswith(FILE)):
        raise InvalidValue("takes one value, not a list.")
    if declared.secret:
        raise InvalidValue(MISPLACED.format(name=declared.name))
    for each in value:
        if not isinstance(each, str):
            raise InvalidValue(TYPES)
        if not each.strip() or "\0" in each:
            raise InvalidValue("has an empty entry, or one with the character NUL.")
        if declared.escapes_commas:
            if each.endswith("\\"):
                raise InvalidValue("has an entry that ends with a backslash.")
            yield each.replace(",", "\\,")
        elif "," in each:
            raise InvalidValue("has an entry with a comma: write one entry for each item.")
        else:
            yield each


def names_of_one(name: str, declared: Variable[Any]) -> tuple[str, ...]:
    """Return the names that count as one variable: a secret's own, and that of its file."""
    if not declared.secret:
        return (name,)
    base = name.removesuffix(FILE)
    return base, f"{base}{FILE}"
