"""The gateway's configuration: the environment's variables, and below them those of a file.

`settings`, the commands and the server read it anew, each for itself. `GATEWAY_CONFIG` names the
file (`environment.configuration_file`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site import variables
from gateway_site.environment import configuration_file
from gateway_site.environment.configuration_file import ENVIRONMENT_ONLY, NAME, InvalidFile
from gateway_site.environment.secret_files import load_secret_files
from gateway_site.environment.variable import FILE, Configuration, InvalidValue, Variable
from sessions_kms.hints import page


def load(environment: Mapping[str, str]) -> Configuration:
    """Return all variables, with the content of secrets' files. Raises ImproperlyConfigured."""
    merged, problems = read(environment)
    if found := [*problems, *find_unknown(merged)]:
        raise ImproperlyConfigured(" ".join(found))
    try:
        loaded = load_secret_files(merged, variables.is_secret)
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(merged.locate(str(error))) from None
    in_file = {each.removesuffix(FILE) if each not in loaded else each for each in merged.in_file}
    return Configuration(loaded, path=merged.path, in_file=in_file)


def read(environment: Mapping[str, str]) -> tuple[Configuration, list[str]]:
    """Return the variables, without those of the file that cannot be used, and why they cannot."""
    path = environment.get(NAME, "").strip()
    if not path:
        return Configuration(environment), []
    try:
        table = configuration_file.read_table(path)
    except InvalidFile as error:
        return Configuration(environment), [f"{NAME}: {path}: {error}"]
    values, problems = dict[str, str](), list[str]()
    mentioned = {**dict.fromkeys(table, ""), **environment}
    for name, value in table.items():
        try:
            declared = _find_declaration(name, mentioned)
            text = configuration_file.to_text(name, value, declared)
        except InvalidValue as problem:
            problems.append(f"{_show(name)} {problem} It is set in {path}.")
            continue
        names = configuration_file.names_of_one(name, declared)
        if not any(environment.get(each, "").strip() for each in names):
            values[name] = text
    return Configuration({**environment, **values}, path=path, in_file=values), problems


class FileState:
    """The file as it was when this process started."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._first = self._read()

    @property
    def exists(self) -> bool:
        """Whether `GATEWAY_CONFIG` names a file."""
        return bool(self._environment.get(NAME, "").strip())

    def find_change(self) -> str | None:
        """Return a sentence if the file has other variables now; None if it has not."""
        if (now := self._read()) == self._first:
            return None
        fault = f" It has a fault: {now[1][0]}" if now[1] else ""
        return f"{NAME} has changed. That takes effect when the server is started again.{fault}"

    def _read(self) -> tuple[dict[str, str], list[str]]:
        merged, problems = read(self._environment)
        return {name: merged[name] for name in merged.in_file}, problems


def _find_declaration(name: str, environment: Mapping[str, str]) -> Variable[Any]:
    """Return the declaration of a name in the file. Raises InvalidValue."""
    if name in ENVIRONMENT_ONLY:
        raise InvalidValue("can only be set in the environment.")
    declared = variables.find_declaration(name) if variables.is_known(name) else None
    if declared is None:
        meant = variables.suggest(name, environment)
        raise InvalidValue(
            "is not a known variable."
            + (f" Did you mean {meant}?" if meant else "")
            + f" {page('settings')} lists all variables."
        )
    return declared


def _show(name: str) -> str:
    return name if name and name.isprintable() else ascii(name)


def find_unknown(merged: Configuration) -> Iterator[str]:
    """Yield what `variables.find_unknown` does, and where the variable is set."""
    yield from map(merged.locate, variables.find_unknown(merged))
