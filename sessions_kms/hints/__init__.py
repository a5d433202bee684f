"""How messages name a management command, and a page of the documentation.

A command is one of `manage.py`, unless a program that has its own name for them says so before
anything else of this package is imported. A page is its address once the documentation has one:
the metadata of the installed distribution say so (`packaging/release.toml`). Until then, and in a
checkout, it is the command that prints the page (`pages`).
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

from sessions_kms.hints.pages import to_anchor

DISTRIBUTION = "django-sessions-kms"
PROGRAM = "manage.py"

_programs: list[str] = []


def use_program(name: str) -> None:
    """Set the name of the program that runs commands; only the first call counts."""
    _programs.append(name)


def command(line: str) -> str:
    """Return a command with the program's name in front, as it is typed: "manage.py migrate"."""
    return f"{_programs[0] if _programs else PROGRAM} {line}"


def page(name: str, heading: str = "") -> str:
    """Return how a message names a page, or a heading on it: "`manage.py docs settings`"."""
    anchor = to_anchor(heading)
    if site := _find_site():
        return f"{site}/{name}.html" + (f"#{anchor}" if anchor else "")
    return f"`{command(f'docs {name} {anchor}'.rstrip())}`"


@cache
def _find_site() -> str:
    """Return the address of the documentation, or "" if the metadata have none."""
    try:
        urls: list[str] = metadata(DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    labelled = dict(url.split(", ", 1) for url in urls)
    return labelled.get("Documentation", "").rstrip("/")
