#!/usr/bin/env python
"""Run the gateway's management commands."""

import os
import sys
from pathlib import Path

LOCAL = Path(__file__).resolve().parent / ".local"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    from django.core.management import execute_from_command_line, load_command_class

    if sys.argv[1:2] == ["runlocal"]:
        # It replaces this shell's variables, so the settings must not be read first.
        load_command_class("gateway_site", "runlocal").run_from_argv(sys.argv)
        return
    if LOCAL.is_dir():  # `make run` was used here; in production nothing of it is imported
        from gateway_site.local import state

        if state.is_running_stack_ignored(os.environ, LOCAL):
            names = ", ".join(state.list_other_stack(os.environ))
            sys.stderr.write(
                f"Not using the running local stack ({LOCAL}). To use it, unset {names}.\n"
            )
        elif state.use_running_stack(os.environ, LOCAL):
            sys.stderr.write(f"Using the running local stack ({LOCAL}).\n")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
