"""`manage.py runlocal`: the whole gateway on this machine, without AWS or a provider account.

Needs no environment and touches neither database nor session itself.
"""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_site.local.environment import LOOPBACK, Ports
from gateway_site.local.processes import ROOT, StackError
from gateway_site.local.stack import Stack


class Command(BaseCommand):
    help = (
        "Run the gateway with a local DynamoDB, KMS, OpenID provider and MCP server, on 127.0.0.1."
    )
    requires_system_checks = ()  # they would ask for the variables that the stack makes

    def add_arguments(self, parser: CommandParser) -> None:
        ports = Ports()
        for option, default, whose in (
            ("--port", ports.gateway, "gateway"),
            ("--provider-port", ports.provider, "OpenID provider"),
            ("--kms-port", ports.kms, "KMS"),
            ("--dynamodb-port", ports.dynamodb, "DynamoDB"),
            ("--mcp-port", ports.mcp, "MCP server"),
        ):
            parser.add_argument(
                option, type=port, default=default, help=f"of the {whose} (default: {default})"
            )
        parser.add_argument(
            "--state",
            type=Path,
            default=ROOT / ".local",
            help="folder of databases, keys and logs (default: .local)",
        )
        parser.add_argument(
            "--host", default=LOOPBACK[0], help="127.0.0.1 or localhost; nothing else is allowed"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ports = Ports(
            gateway=options["port"],
            provider=options["provider_port"],
            kms=options["kms_port"],
            dynamodb=options["dynamodb_port"],
            mcp=options["mcp_port"],
        )
        if options["host"] not in LOOPBACK:
            forwarded = (f"-L {each}:127.0.0.1:{each}" for each in (ports.gateway, ports.provider))
            raise CommandError(
                "runlocal serves plain http with ready-made passwords, so it listens on "
                "127.0.0.1 only. To reach it from another machine, forward its two ports: "
                f"ssh {' '.join(forwarded)} HOST"
            )
        os.umask(0o077)
        try:
            Stack(os.environ, ports, options["state"].resolve()).serve(self.say)
        except StackError as error:
            raise CommandError(str(error)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def port(text: str) -> int:
    """Read a port number, for argparse."""
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError
    return number
