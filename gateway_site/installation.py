"""What is installed here: whether `oauth` is the gateway's, and how its commands are called.

Entry points call both functions before they import anything else of the project.
"""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sessions_kms.hints import use_program

DISTRIBUTION = "django-sessions-kms-gateway"
SCRIPT = "kms-gateway"
MODULE = "python -m gateway_site"
MANAGE = "manage.py"
LOCAL = "--local"  # before a command: with the variables of the running local stack


def require_own_oauth() -> None:
    """Exit with one sentence if the package `oauth` is another distribution's.

    The package index has a distribution `oauth` that installs into the same folder. It replaces
    `oauth/__init__.py`, and takes it away when it is uninstalled.
    """
    try:
        marker = getattr(import_module("oauth"), "DISTRIBUTION", None)
    except Exception:  # noqa: BLE001 - it may be anybody's, and raise anything
        marker = None
    if marker != DISTRIBUTION:
        sys.exit(
            "Another distribution, oauth, has replaced the gateway's package oauth: run"
            f" `pip uninstall oauth`, then `pip install --force-reinstall --no-deps {_pin()}`."
        )


def name_program() -> str:
    """Return the program by which commands are called, and have messages name it."""
    called = Path(sys.argv[0]).name.removesuffix(".exe")
    program = called if called in {MANAGE, SCRIPT} else MODULE
    use_program(program)
    return program


def is_command() -> bool:
    """Return True if this process runs a command that is not a server."""
    called = Path(sys.argv[0])
    is_ours = called.name == "__main__.py" and called.parent.name == "gateway_site"
    named = called.name.removesuffix(".exe") in {MANAGE, SCRIPT, "django-admin"}
    arguments = [each for each in sys.argv[1:] if each != LOCAL]
    return (is_ours or named) and arguments[:1] not in (["runserver"], ["serve"])


def _pin() -> str:
    """Return the requirement of what is installed: another version would need another engine."""
    try:
        return f"{DISTRIBUTION}=={version(DISTRIBUTION)}"
    except PackageNotFoundError:  # a checkout
        return DISTRIBUTION
