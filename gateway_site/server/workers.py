"""The parent of the workers: at SIGHUP it replaces them, unless the settings have a fault.

uvicorn's parent starts each new worker before it ends the old one, and stops replacing them if one
does not start. But then some workers would have other settings than the rest.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from uvicorn.supervisors import Multiprocess

logger = logging.getLogger("uvicorn.error")  # the one that is configured in the parent

FOLDER = Path(__file__).resolve().parents[2]
TIME_LIMIT = 60  # seconds
# As a new worker reads them. The error of a variable never repeats a secret.
CHECK = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
try:
    settings.INSTALLED_APPS
except ImproperlyConfigured as error:
    sys.exit(f"{error}")
"""


class Workers(Multiprocess):
    """uvicorn's parent process, with a check before workers are replaced."""

    def handle_hup(self) -> None:
        """Have the workers read their rules again; replace them if the settings have no fault."""
        for process in self.processes:
            # A worker that is still starting would be ended by the signal. It reads the files now.
            if process.pid is not None and process.is_ready(timeout=1):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)
        if (fault := find_fault()) is not None:
            logger.error("The workers are not replaced: %s", fault)
            return
        super().handle_hup()


def find_fault() -> str | None:
    """Return what is wrong with the settings, as a new process reads them; None if nothing is."""
    command = [sys.executable, "-P", "-c", CHECK, str(FOLDER)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the settings could not be checked ({type(error).__name__})."
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the check of the settings ended with {done.returncode}."


def use_for_server() -> None:
    """Have uvicorn's command line use this parent."""
    vars(import_module("uvicorn.main"))["Multiprocess"] = Workers
