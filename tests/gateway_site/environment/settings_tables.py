"""The lists of variables in docs/settings.md; `python -m` this module rewrites them.

Each is between two markers and follows from the declarations.
"""

import re
from collections.abc import Iterable
from typing import Any

from gateway_site import variables
from gateway_site.environment.variable import Variable
from tests import ROOT

PAGE = ROOT / "docs/settings.md"
LIST = re.compile(r"(?<=<!-- variables: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
COMMAND = f"python -m {__spec__.name if __spec__ else __name__}"


def fill(page: str) -> str:
    """Return the page with each list as the declarations have it."""
    return LIST.sub(lambda match: f"{match[1]}{match[2]}{LISTS[match[1]]}", page)


def build_list(declarations: Iterable[Variable[Any]], prefix: str = "") -> str:
    names = [f"{prefix}{each.name}" for each in declarations]
    return "".join(map(build_entry, names, declarations))


def build_entry(name: str, declared: Variable[Any]) -> str:
    secret = "secret; " if declared.secret else ""
    default = show_default(declared)
    text = default.strip("`")
    if default == f"`{text}`" and text not in variables.GENERAL:
        return f"- `{name}={text}`: {secret}{declared.help_text}\n"
    shown = f" ({default})" if default else ""
    return f"- `{name}`{shown}: {secret}{declared.help_text}\n"


def show_default(declared: Variable[Any]) -> str:
    """Return the default as the environment would write it, or in words."""
    if declared.shown_default is not None:
        return declared.shown_default
    if declared.required:
        return "required"
    return f"`{text}`" if (text := write(declared.default)) else ""


def write(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple | list | frozenset):
        return ",".join(sorted(value))
    return "" if value is None else str(value)


LISTS = {
    "general": build_list([variables.GENERAL[name] for name in sorted(variables.GENERAL)]),
    **{
        family.kind: build_list(family.declarations(), f"{family.kind}_<NAME>_")
        for family in variables.FAMILIES
    },
}

if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
