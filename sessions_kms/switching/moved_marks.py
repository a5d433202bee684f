"""The mark of a session that changed its engine: which of its row and its sealed record is it?

While a project changes its engine, there or back, a session key may have any of the three.
The sealed record comes first, then the mark, then the row:

| row | record | mark | the session | `moving_in`, `import_sessions`   | `moving_out`              |
|-----|--------|------|-------------|----------------------------------|---------------------------|
|     |        |      | is none     | none                             | none                      |
| x   |        |      | is the row  | takes it over: row, record, mark | the row                   |
|     | x      |      | is sealed   | the record                       | takes it back: row        |
|     | x      | x    | is sealed   | the record                       | takes it back: row        |
| x   | x      | x    | is sealed   | the record                       | takes it back: row        |
| x   |        | x    | has ended   | none                             | none, and ends the row    |
|     |        | x    | has ended   | none                             | none                      |
| x   | x      |      | cannot be   |                                  |                           |

A tombstone (`tombstone`) is no record: the session lives on under another key, which has neither
row nor mark. Whoever comes with the old one within 15 seconds is asked to come again.

Record and mark come together there, in one transaction, and go together on the way back, in
another: the mark stands from before the row is put until the row is the session. So after a
fault between any two writes, the next request finds one of these lines. Whoever ends a
session leaves the mark, or puts one: a row that another request is about to put is dead.
"""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import Item, as_number
from sessions_kms.format.kinds import MOVED
from sessions_kms.services import Services
from sessions_kms.storage.confirmation_limit import Confirm

# Seconds after the row's end: a process of the old release may have put that off.
MARKED_FOR = 90 * 24 * 3600


def mark_of(services: Services, session_id: str) -> str:
    """Return the id of a session's mark."""
    return MOVED.id_in(services.config.namespace, session_id)


def mark(services: Services, session_id: str, *, row_ends_at: int) -> Item:
    """Return the mark of a session whose row ends at this time."""
    marked = MOVED.item(mark_of(services, session_id))
    return marked | {"ttl": as_number(row_ends_at + MARKED_FOR)}


def is_marked(services: Services, session_id: str) -> bool:
    """Tell whether a session without a record has ended. Raises TableUnavailable."""
    item_id = mark_of(services, session_id)
    return run_sync(services.table.get(item_id, confirm=Confirm.LIMITED)) is not None
