"""What `kms-gateway help` prints: the gateway's own commands, each with one line."""

import re
from collections.abc import Iterator

import django
from django.core.management import get_commands, load_command_class

from sessions_kms.hints import command

OURS = frozenset({"gateway_site", "oauth", "sessions_kms"})


def describe_commands() -> Iterator[str]:
    """Yield the lines. Raises ImproperlyConfigured if the settings cannot be loaded."""
    django.setup()
    found = {name: app for name, app in get_commands().items() if app in OURS}
    width = max(map(len, found))
    yield f"Usage: {command('COMMAND [options]')}"
    yield ""
    for name, app in sorted(found.items()):
        yield f"  {name:{width}}  {_first_sentence(load_command_class(app, name).help)}"
    yield ""
    yield f"`{command('help COMMAND')}` explains one; `{command('help --all')}` lists Django's too,"
    yield "such as migrate, check and collectstatic."


def _first_sentence(text: str) -> str:
    first = " ".join(text.split()).partition(". ")[0].partition(": ")[0]
    return re.sub(r" \([^()]*\)$", "", first.rstrip(".")) + "."
