"""`manage.py list_clients`: which OAuth clients have grants, and of how many people."""

from dataclasses import asdict
from typing import Any

from sessions_kms.management.base import OperatorCommand, shown
from sessions_kms.operations.clients import ClientGrants, ClientUse
from sessions_kms.services import services


class Command(OperatorCommand):
    help = (
        "List the OAuth clients that people allowed to call for them: what each calls itself, "
        "its id, how many grants it has, and of how many people. Reads the whole table. End "
        "them by `end_sessions --client`."
    )
    changes = False

    def operate(self, options: dict[str, Any]) -> None:
        found = ClientGrants(services()).clients()
        told = [asdict(each) | _counted(each) for each in found]
        lines = [_line(each) for each in found] or ["No client has a grant."]
        self.conclude({"clients": told}, "\n".join(lines))


def _counted(use: ClientUse) -> dict[str, Any]:
    written = None if use.last_written is None else use.last_written.isoformat()
    return {"people": len(use.people), "last_written": written}


def _line(use: ClientUse) -> str:
    return (
        f"{shown(use.name)}  {shown(use.client_id)}  grants: {use.grants:,}"
        f"  people: {len(use.people):,}  last written: {_counted(use)['last_written']}"
    )
