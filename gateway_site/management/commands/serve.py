"""`kms-gateway serve`: the server, with uvicorn's options.

Like `runlocal` it runs before the settings are read: uvicorn imports the application itself.
"""

from typing import Any

from django.core.management.base import BaseCommand

from gateway_site import server


class Command(BaseCommand):
    help = "Serve the gateway. Takes uvicorn's options (--host, --port, --workers, …)."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the server until it is asked to end."""
        server.run(argv[2:], program=" ".join(argv[:2]))

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print uvicorn's options."""
        server.run(["--help"], program=f"{prog_name} {subcommand}")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the server with the default options."""
        server.run([], program="serve")
