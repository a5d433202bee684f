"""What stops a server before it starts: variables that are missing, and a port that is taken."""

import argparse
import errno
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.database import require_database
from sessions_kms.hints import command, page

NUMBER = re.compile(r"-?[0-9]+")
REMEDIES = {
    errno.EADDRINUSE: "End the process that uses it, or choose another with --port or --host.",
    errno.EACCES: "Choose a port from 1024 on with --port, or give this process the right.",
}
HOST, PORT = "127.0.0.1", "8000"  # uvicorn's defaults


def require_variables() -> None:
    """Raise ImproperlyConfigured, which names all variables that are missing."""
    missing = [] if settings.GATEWAY_LOCAL else settings.MISSING_VARIABLES
    if missing:
        raise ImproperlyConfigured(
            f"These variables are missing: {', '.join(missing)}. {page('settings')} describes them."
            f" `{command('runlocal')}` needs none."
        )
    require_database(settings.DATABASES)


def require_port(environment: Mapping[str, str], options: Sequence[str]) -> None:
    """Raise ImproperlyConfigured if the address of uvicorn's options cannot be listened on.

    uvicorn itself rejects options that are invalid.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (("host", HOST), ("port", PORT), ("uds", ""), ("fd", "")):
        found = environment.get(f"UVICORN_{name.upper()}")
        parser.add_argument(f"--{name}", default=found or default)
    given, _ = parser.parse_known_args(list(options))
    if given.uds and not Path(given.uds).parent.is_dir():
        raise ImproperlyConfigured(f"--uds {given.uds} is in no folder that exists: create it.")
    if given.uds or given.fd or not NUMBER.fullmatch(given.port) or int(given.port) == 0:
        return
    if not 0 < int(given.port) < 65536:
        raise ImproperlyConfigured(f"--port {given.port} is no port: use one from 1 to 65535.")
    family = socket.AF_INET6 if ":" in given.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((given.host, int(given.port)))
    except OSError as error:
        raise ImproperlyConfigured(
            f"The server cannot listen on port {given.port} of {given.host}: {error.strerror}."
            f" {REMEDIES.get(error.errno or 0, 'Choose an address of this machine with --host.')}"
        ) from error
