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
        # It replaces this shell's variables, so what they say must not be read before it.
        load_command_class("gateway_site", "runlocal").run_from_argv(sys.argv)
        return
    if LOCAL.is_dir():  # `make run` was used here; nothing of it is imported elsewhere
        from gateway_site.local import running_stack

        if running_stack.is_passed_over(os.environ, LOCAL):
            names = ", ".join(running_stack.elsewhere(os.environ))
            sys.stderr.write(
                f"Not using the local stack that runs ({LOCAL}): unset these to use it: {names}.\n"
            )
        elif running_stack.adopt(os.environ, LOCAL):
            sys.stderr.write(f"Using the local stack that runs ({LOCAL}).\n")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
