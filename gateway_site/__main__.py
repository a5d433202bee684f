"""The gateway's commands: `kms-gateway`, `python -m gateway_site`, and `manage.py` in a checkout.

`serve` starts the server, with uvicorn's options. `--local` before a command gives it the variables
of the local stack that runs in the current folder; `manage.py` always does that.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway_site import installation

SETTINGS = "gateway_site.settings"
ALL = "--all"  # after `help`: Django's commands too
TRACEBACK = "--traceback"  # Django's option: raise errors
# These need no settings: two start processes of their own, two are for settings with a fault.
UNCONFIGURED = {
    "docs": "sessions_kms",
    "runlocal": "gateway_site",
    "serve": "gateway_site",
    "show_settings": "gateway_site",
}
STATE = Path(".local")  # as in `gateway_site.local.options`


def main() -> None:
    """Run a command of `kms-gateway` or `python -m gateway_site`."""
    run(sys.argv[1:])


def run(arguments: Sequence[str], *, is_local: bool = False) -> None:
    """Run a command, with ``is_local`` as after `--local`.

    Exits with one sentence for a known error, such as a database that cannot be reached.
    """
    installation.require_own_oauth()
    if arguments[:1] == [installation.LOCAL]:
        arguments, is_local = arguments[1:], True
    argv = [installation.name_program(), *arguments]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    from django.core.management import execute_from_command_line, load_command_class

    name = arguments[0] if arguments else "help"
    if is_local and name != "runlocal":
        use_running_stack(STATE.absolute())
    try:
        if [*arguments] in ([], ["help"], ["--help"], ["-h"]):
            _print_commands()
        elif app := UNCONFIGURED.get(name):
            load_command_class(app, name).run_from_argv(argv)
        else:
            execute_from_command_line([each for each in argv if [name, each] != ["help", ALL]])
    except Exception as error:
        if TRACEBACK in arguments or (sentence := _explain(error)) is None:
            raise
        sys.stderr.write(f"{sentence}\n")
        sys.exit(getattr(error, "returncode", 1))


def _print_commands() -> None:
    from gateway_site.management.overview import describe_commands

    sys.stdout.write("\n".join([*describe_commands(), ""]))


def _explain(error: Exception) -> str | None:
    """Return what is wrong and what to do, in one line; None if the error is not a known one."""
    from django.core.exceptions import ImproperlyConfigured

    if isinstance(error, ImproperlyConfigured):
        # The settings may be what cannot be loaded, and the next import needs them.
        return f"ImproperlyConfigured: {error}"
    module = os.environ["DJANGO_SETTINGS_MODULE"]
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return (
            f"ImproperlyConfigured: There is no module {module}, which --settings or"
            f" DJANGO_SETTINGS_MODULE names. The gateway's is {SETTINGS}."
        )
    from sessions_kms.management.known_errors import explain

    found = explain(error)
    return found and f"CommandError: {found}"


def use_running_stack(folder: Path) -> None:
    """Use the variables of the local stack that runs in this folder, and say so, if one does."""
    if not folder.is_dir():
        return
    from gateway_site.local import state

    if not state.is_private(folder):
        sys.stderr.write(
            f"Not using the local stack ({folder}): the folder must be yours, with mode 0700.\n"
        )
    elif state.is_running_stack_ignored(os.environ, folder):
        names = ", ".join(state.list_other_stack(os.environ))
        sys.stderr.write(
            f"Not using the running local stack ({folder}). To use it, unset {names}.\n"
        )
    elif state.use_running_stack(os.environ, folder):
        sys.stderr.write(f"Using the running local stack ({folder}).\n")


if __name__ == "__main__":
    main()
