"""`manage.py runserver` over ASGI: event streams are not buffered, as in production.

Options, checks, static files and the reloader are those of Django's command.
"""

import asyncio
import errno
import io
import logging
import os
import socket
from contextlib import suppress
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands import runserver
from django.core.management.base import CommandError, OutputWrapper
from django.db import connections
from django.utils import autoreload
from django.utils.module_loading import import_string

from gateway_site.server import OPTIONS, logs_json
from sessions_kms.management.suggestions import SuggestingCommand

DEFAULT_APPLICATION = "gateway_site.asgi.application"
GRACE = 1  # seconds for open requests to end by themselves

BIND_ERRORS = {
    errno.EACCES: "You don't have permission to access that port.",
    errno.EADDRINUSE: "That port is already in use.",
    errno.EADDRNOTAVAIL: "That IP address can't be assigned to.",
}
logger = logging.getLogger("gateway_site.server")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Server(uvicorn.Server):
    """Ends open event streams by closing their connections instead of cancelling them.

    Django logs a cancelled stream as an error with its traceback.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(GRACE, self.close_connections)
        await super().shutdown(sockets)

    def close_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()


class LoggedOutput(io.StringIO):
    """Takes the command's output to the log, where that has to be JSON."""

    def write(self, text: str) -> int:
        """Log a text, if it is not blank."""
        if text.strip():
            logger.info("%s", text.strip())
        return len(text)


class Command(SuggestingCommand, runserver.Command):
    addr: str
    port: str
    use_ipv6: bool

    help = "Starts a lightweight ASGI server for development and also serves static files."

    def run(self, **options: Any) -> None:
        if getattr(settings, "GATEWAY_LOCAL", False) and self.addr not in LOOPBACK:
            raise CommandError(
                "GATEWAY_LOCAL serves plain http, so it listens on 127.0.0.1 only. To use it from "
                "another machine, forward the port: ssh -L 8000:127.0.0.1:8000 HOST"
            )
        if logs_json():
            self.stdout = self.stderr = OutputWrapper(LoggedOutput())
        super().run(**options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        autoreload.raise_last_exception()
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()
        self.serve(self.load_application(**options))

    def load_application(self, **options: Any) -> Any:
        """Return the project's ASGI application, with static files if they are requested."""
        application = import_string(getattr(settings, "ASGI_APPLICATION", DEFAULT_APPLICATION))
        if options["use_static_handler"] and (settings.DEBUG or options["insecure_serving"]):
            return ASGIStaticFilesHandler(application)
        return application

    def serve(self, application: Any) -> None:
        config = uvicorn.Config(
            application,
            **OPTIONS,
            log_config=None,  # the settings' LOGGING keeps query strings out of the access log
            timeout_graceful_shutdown=GRACE + 1,
        )
        with self.listen() as listener:
            host, port = listener.getsockname()[:2]
            name = f"[{host}]" if ":" in host else host
            self.stdout.write(f"Serving ASGI at http://{name}:{port}/ (Ctrl-C ends it)")
            self.stdout.flush()
            with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
                Server(config).run(sockets=[listener])

    def listen(self) -> socket.socket:
        """Bind the port here: if uvicorn could not, only the reloader's thread would end."""
        family = socket.AF_INET6 if self.use_ipv6 else socket.AF_INET
        try:
            listener = socket.create_server((self.addr, int(self.port)), family=family)
        except OSError as error:
            self.stderr.write(f"Error: {BIND_ERRORS.get(error.errno or 0, error)}")
            os._exit(1)  # sys.exit would only end the reloader's thread
        # asyncio turns Nagle's algorithm off only for sockets that name their protocol.
        kind, protocol = socket.SOCK_STREAM, socket.IPPROTO_TCP
        return socket.socket(family, kind, protocol, fileno=listener.detach())
