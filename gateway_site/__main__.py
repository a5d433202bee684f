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
STATE = Path(".local")  # as in `gateway_site.local.options`


def main() -> None:
    """Run a command of `kms-gateway` or `python -m gateway_site`."""
    run(sys.argv[1:])


def run(arguments: Sequence[str], *, is_local: bool = False) -> None:
    """Run a command, with ``is_local`` as after `--local`.

    Exits with one sentence for a mistake in the configuration.
    """
    installation.require_own_oauth()
    if arguments[:1] == [installation.LOCAL]:
        arguments, is_local = arguments[1:], True
    argv = [installation.name_program(), *arguments]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line, load_command_class

    name = arguments[0] if arguments else "help"
    if is_local and name != "runlocal":
        use_running_stack(STATE.absolute())
    try:
        # Two start processes of their own; the third is for settings that cannot be loaded.
        if name in {"runlocal", "serve", "show_settings"}:
            load_command_class("gateway_site", name).run_from_argv(argv)
        else:
            execute_from_command_line(argv)
    except ImproperlyConfigured as error:
        sys.exit(f"ImproperlyConfigured: {error}")


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
