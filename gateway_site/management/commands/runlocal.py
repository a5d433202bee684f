"""`kms-gateway runlocal`: the whole gateway on this machine, without AWS or a provider account.

It needs no environment, and uses neither database nor sessions itself.
"""

import os
from typing import Any

from django.core.management.base import CommandError, CommandParser

from gateway_site.local import options
from gateway_site.local.options import LOOPBACK, Ports
from gateway_site.local.processes import StackError
from gateway_site.local.stack import Stack
from sessions_kms.management.suggestions import SuggestingCommand


class Command(SuggestingCommand):
    help = options.HELP
    requires_system_checks = ()  # they would require the variables that the stack sets

    def add_arguments(self, parser: CommandParser) -> None:
        options.add_options(parser)

    def handle(self, *args: Any, **given: Any) -> None:
        others = ("provider_port", "kms_port", "dynamodb_port", "mcp_port", "notes_port")
        ports = Ports(given["port"], *(given[name] for name in others))
        if given["host"] not in LOOPBACK:
            forwarded = (
                f"-L {each}:127.0.0.1:{each}"
                for each in (ports.gateway, ports.provider, ports.notes)
            )
            raise CommandError(
                "runlocal serves plain http with public passwords, so it listens on 127.0.0.1 "
                "only. To use it from another machine, forward these ports: "
                f"ssh {' '.join(forwarded)} HOST"
            )
        os.umask(0o077)
        inherited = dict(os.environ)
        if given["public_url"]:
            inherited["PUBLIC_URL"] = given["public_url"]
        try:
            Stack(inherited, ports, given["state"].resolve()).serve(self.say)
        except StackError as error:
            raise CommandError(str(error)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
