"""`manage.py change_client_key`: another key for the gateway as a client of an MCP server."""

from argparse import ArgumentParser
from typing import Any

from oauth.mcp import client_key
from oauth.mcp.servers import all_servers
from sessions_kms.management.base import OperatorCommand, UsageError, shown, unknown
from sessions_kms.services import services


class Command(OperatorCommand):
    help = (
        "Replace the private key with which the gateway authenticates to the authorization server "
        "of an MCP server, for example after a leak. Exit status: 0 done, 1 failed or not "
        "confirmed, 2 no such MCP server, or it has no key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the upstream, such as notion")
        super().add_arguments(parser)

    def operate(self, options: dict[str, Any]) -> None:
        name = options["name"]
        known = sorted(each.name for each in all_servers())
        if name not in known:
            raise unknown(f"No MCP server is declared as {shown(name)}.", name, known, cutoff=0.0)
        if client_key.load_key(services(), name) is None:
            raise UsageError(f"The gateway has no key for {name}: nobody needed one so far.")
        if self.dry_run:
            self.conclude({"changed": False}, f"Would change the key for {name}.")
            return
        self.confirm(
            f"Change the key for {name}? Its authorization server may end all connections, and "
            "rejects the gateway until it fetches the new key."
        )
        self._change(name)

    def _change(self, name: str) -> None:
        key = client_key.change_key(services(), name)
        if key is None:
            raise UsageError(f"The key for {name} was deleted meanwhile.")
        result = {"changed": True, "key_id": key.key_id}
        self.conclude(result, f"The key for {name} is now {key.key_id}.")
