"""`show_settings`: each variable of the gateway, its value, and where the value comes from.

It is needed most where the settings cannot be loaded, so it reads the variables without them.
"""

import json
import os
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_site import configuration, variables
from gateway_site.environment.secret_files import load_secret_files
from gateway_site.environment.variable import FILE, Configuration, Variable, Variables
from sessions_kms.management.suggestions import SuggestingCommand

MASKED = "********"
FAILED = 1


@dataclass(frozen=True)
class Setting:
    """One variable: its text, and a sentence if it cannot be used."""

    name: str
    value: str  # MASKED for a secret; the default as the documentation shows it
    source: str  # "variable", "default", or a file: GATEWAY_CONFIG's, or the one with a secret
    problem: str = ""


class Command(SuggestingCommand):
    help = (
        "Show each variable of the gateway: its value, and whether it comes from the environment, "
        "a file or the default. Secrets are masked. Works where the settings cannot be loaded. "
        "Exit status: 0 all can be used, 1 not."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--set", action="store_true", help="leave out the defaults")

    def handle(self, **options: Any) -> None:
        found = [
            each
            for each in list_settings(configuration.read(os.environ)[0])
            if not options["set"] or each.source != "default"
        ]
        problems = [each.problem for each in found if each.problem]
        problems += [each for each in find_problems(os.environ) if each not in problems]
        if options["json"]:
            shown = {"settings": [asdict(each) for each in found], "problems": problems}
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            self._write(found, problems)
        if problems:
            raise SystemExit(FAILED)

    def _write(self, found: list[Setting], problems: list[str]) -> None:
        width = max((len(each.name) for each in found), default=0)
        for each in found:
            line = f"{each.name:{width}}  {each.value or '-'}  ({each.source})"
            self.stdout.write(self.style.ERROR(line) if each.problem else line)
        for problem in problems:
            self.stderr.write(problem)


def list_settings(environment: Configuration) -> list[Setting]:
    """Return the general variables, then those of each provider and upstream that is named."""
    groups: list[Variables] = [group(environment) for group in variables.GROUPS]
    for family in variables.FAMILIES:
        groups += [family(environment, name) for name in sorted(family.list_mentioned(environment))]
    return [_read(group, each, environment) for group in groups for each in group.declarations()]


def find_problems(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each fault of the file and each unknown variable, and for what else
    stops the settings.
    """
    merged, unknown = configuration.read(environment)
    unknown += configuration.find_unknown(merged)
    yield from unknown
    try:
        missing = settings.MISSING_VARIABLES
    except ImproperlyConfigured as error:
        if not unknown:  # otherwise these are what it says
            yield str(error)
    else:
        yield from (f"{name} is not set." for name in missing)


def _read(group: Variables, variable: Variable[Any], merged: Configuration) -> Setting:
    name = group.get_name(variable)
    file = f"{name}{FILE}"
    environment = {each: merged.get(each, "").strip() for each in (name, file)}
    source = _describe_source(merged, name, variable)
    try:
        loaded = load_secret_files(environment, lambda _: variable.secret)
        text = loaded.get(name, "")
        if text:
            variable.parse(text)
    except (ImproperlyConfigured, ValueError) as error:
        problem = str(error)
        is_named = problem.startswith((name, file))
        named = merged.locate(problem) if is_named else str(group.error(variable, problem))
        return Setting(name, _show(variable, environment[name]), source, named)
    return Setting(name, _show(variable, text), source)


def _describe_source(merged: Configuration, name: str, variable: Variable[Any]) -> str:
    path = merged.get(f"{name}{FILE}", "").strip() if variable.secret else ""
    if path:
        return f"{path}, named in {merged.path}" if f"{name}{FILE}" in merged.in_file else path
    if not merged.get(name, "").strip():
        return "default"
    return merged.path if name in merged.in_file else "variable"


def _show(variable: Variable[Any], text: str) -> str:
    """Return the text in one line, which cannot deceive a terminal."""
    if text:
        return MASKED if variable.secret else (text if text.isprintable() else ascii(text))
    if variable.shown_default is not None:
        return variable.shown_default.replace("`", "")
    return "" if variable.default in (None, (), [], frozenset()) else str(variable.default)
