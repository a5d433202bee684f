"""`manage.py list_clients`: the OAuth clients that have grants, and of how many users."""

from dataclasses import asdict
from typing import Any

from sessions_kms.management.base import OperatorCommand, shown
from sessions_kms.operations.clients import ClientGrants, ClientUse
from sessions_kms.services import services


class Command(OperatorCommand):
    help = (
        "List the OAuth clients that users have allowed: each one's name, id, number of grants "
        "and number of users. Scans the whole table. `end_sessions --client` ends their grants."
    )
    changes = False

    def operate(self, options: dict[str, Any]) -> None:
        clients = ClientGrants(services()).clients()
        lines = [_line(each) for each in clients] or ["No client has a grant."]
        result = [asdict(each) | _summary(each) for each in clients]
        self.conclude({"clients": result}, "\n".join(lines))


def _summary(use: ClientUse) -> dict[str, Any]:
    written = None if use.last_written is None else use.last_written.isoformat()
    return {"people": len(use.people), "last_written": written}


def _line(use: ClientUse) -> str:
    return (
        f"{shown(use.name)}  {shown(use.client_id)}  grants: {use.grants:,}"
        f"  people: {len(use.people):,}  last written: {_summary(use)['last_written']}"
    )
