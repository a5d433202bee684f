"""The local stack that runs, as other commands of this checkout find it.

While `runlocal` holds the lock of its folder, the variables of its gateway lie in a private
file there; an environment that names no other stack gets them.
"""

import json
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from gateway_site.local.state import is_locked, write_private

FILE = "variables.json"
SETTINGS = "gateway_site.settings"
# Whoever sets one of these means another stack. A Region alone, whom TLS trusts, or how AWS's own
# command line shows its output, leads nowhere.
ELSEWHERE = re.compile(
    "AWS_(?!REGION$|DEFAULT_REGION$|CA_BUNDLE$|PAGER$|DEFAULT_OUTPUT$|CLI_).+"
    "|KMS_KEY_ARN|SESSIONS_TABLE|DATABASE_URL|DJANGO_SECRET_KEY"
)


def tell(state: Path, variables: Mapping[str, str]) -> None:
    """Leave the variables for other commands, readable by the owner only."""
    write_private(state / FILE, json.dumps(variables, indent=2, sort_keys=True) + "\n")


def forget(state: Path) -> None:
    """Leave nothing: the stack does not run, or not yet."""
    (state / FILE).unlink(missing_ok=True)


def elsewhere(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables by which an environment means another stack."""
    return sorted(
        name for name, value in environment.items() if value and ELSEWHERE.fullmatch(name)
    )


def is_passed_over(environment: Mapping[str, str], state: Path) -> bool:
    """Tell whether a stack runs here, and an environment means another one.

    `GATEWAY_LOCAL` is the stack's own mark: its gateway has all these variables from it.
    """
    ours = environment.get("DJANGO_SETTINGS_MODULE") == SETTINGS
    marked = bool(environment.get("GATEWAY_LOCAL"))
    return ours and not marked and bool(elsewhere(environment)) and is_locked(state)


def adopt(environment: MutableMapping[str, str], state: Path) -> bool:
    """Have an environment that means no other stack mean the running one; tell whether it does."""
    if environment.get("DJANGO_SETTINGS_MODULE") != SETTINGS or not is_locked(state):
        return False
    if elsewhere(environment):
        return False
    try:
        variables = json.loads((state / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, PermissionError):  # still starting, or somebody else's
        return False
    environment.update(variables)
    return True
