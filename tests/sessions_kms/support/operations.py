"""Operations on sessions, and the allowed states of the table after each was interrupted.

`prepare` creates the same sessions for each operation. `act` runs it and records what was
acknowledged; `check` compares the stored state with the states that the design allows.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import SessionMoved
from sessions_kms.operations.ending import end_linked, end_sessions_of
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import ABOUT
from sessions_kms.sealed_items.leases import CLOCK_DIFFERENCE, Leases
from sessions_kms.services import id_of, services
from sessions_kms.session.links import LINKS
from tests.sessions_kms.support.sessions import save_changes, saved_key

ADA, BOB = "1", "2"
FIRST, SECOND = "1" * 64, "2" * 64
LEASE = 15  # seconds
RESULT = b"result"
WORDS = {"browser": "Firefox"}
OLD = {USER_ID: ADA, LINKS: [FIRST], ABOUT: WORDS, "token": "old", "other": 1}
ANONYMOUS = {"cart": 1}
Response = Literal["ok", "unavailable", "killed"]


@dataclass
class Scene:
    """The keys of the existing sessions, and the acknowledged changes since."""

    ada: str = ""
    also_ada: str = ""
    bob: str = ""
    anonymous: str = ""
    secret: str = ""  # of a lease
    moved: str | None = None  # the new key that a browser would get
    acknowledged: dict[str, Any] = field(default_factory=dict)
    faults: int = 1


def prepare() -> Scene:
    """Create the sessions from which all operations start."""
    return Scene(
        ada=saved_key(**OLD),
        also_ada=saved_key(ADA, token="other"),
        bob=saved_key(BOB, token="his"),
        anonymous=saved_key(**ANONYMOUS),
        secret=secrets.token_hex(16),
    )


def stored_item(key: str | None) -> dict[str, Any]:
    """Return the session of a key; empty if the key was changed, recently or long ago."""
    with suppress(SessionMoved):
        return dict(SessionStore(key).items())
    return {}


def read_labels(key: str) -> about.Labels:
    return run_sync(about.SessionMetadata(services()).read(id_of(key)))


# The operations


def load(scene: Scene) -> None:
    assert stored_item(scene.ada) == OLD


def create(scene: Scene) -> None:
    scene.moved = saved_key(token="new")


def save(scene: Scene) -> None:
    save_changes(scene.ada, token="new")


def merge(scene: Scene) -> None:
    """Save a session that another request has changed meanwhile."""
    session = SessionStore(scene.ada)
    session["token"] = "new"
    save_changes(scene.ada, other=2)
    scene.acknowledged["other"] = 2
    session.save()


def save_links(scene: Scene) -> None:
    session = SessionStore(scene.ada)
    session["token"] = "new"
    session[LINKS] = [SECOND]
    session.save()


def cycle(scene: Scene) -> None:
    session = SessionStore(scene.ada)
    session["token"] = "new"
    session.cycle_key()
    scene.moved = session.session_key


def sign_in(scene: Scene) -> None:
    session = SessionStore(scene.anonymous)
    session.cycle_key()
    session[USER_ID] = ADA
    session.save()
    scene.moved = session.session_key


def flush(scene: Scene) -> None:
    SessionStore(scene.ada).flush()


def end_all(scene: Scene) -> None:
    end_sessions_of(services(), ADA)


def end_by_link(scene: Scene) -> None:
    end_linked(services(), FIRST)


def work_once(scene: Scene) -> None:
    """Do what a refresh does before and after the provider's response."""
    leases = Leases(services())
    assert run_sync(leases.claim(scene.secret, "holder", seconds=LEASE)).held
    assert run_sync(leases.complete(scene.secret, "holder", RESULT, keep=3600))


# The allowed states afterwards


def check_unchanged(scene: Scene, response: Response) -> None:
    assert stored_item(scene.ada) == OLD


def check_created(scene: Scene, response: Response) -> None:
    check_unchanged(scene, response)
    if response == "ok":
        assert stored_item(scene.moved) == {"token": "new"}


def check_changed(scene: Scene, response: Response) -> None:
    found, new = stored_item(scene.ada), OLD | {"token": "new"}
    if response == "ok":
        assert found == new | scene.acknowledged
    else:
        assert found in (OLD, new, OLD | {"other": 2}, new | {"other": 2})
    assert found.items() >= scene.acknowledged.items(), "what was acknowledged is lost"


def check_linked(scene: Scene, response: Response) -> None:
    found, new = stored_item(scene.ada), OLD | {"token": "new", LINKS: [SECOND]}
    assert found in ([new] if response == "ok" else [OLD, new])
    end_linked(services(), found[LINKS][0])
    assert stored_item(scene.ada) == {}, "what a session lists does not end it"


def check_cycled(scene: Scene, response: Response) -> None:
    new = OLD | {"token": "new"}
    if response == "ok":
        assert stored_item(scene.moved) == new
        assert stored_item(scene.ada) == {}
        assert read_labels(scene.ada) == {}
        assert read_labels(scene.moved or "") == WORDS
        end_linked(services(), FIRST)
        assert stored_item(scene.moved) == {}, "what a session lists does not end it"
    elif response == "unavailable" and scene.faults == 1:
        assert stored_item(scene.ada) == OLD
    else:
        # The transaction was applied, and then the process was killed, or both the response and
        # the read after it were lost: nobody got the new key.
        assert stored_item(scene.ada) in (OLD, {})


def check_signed_in(scene: Scene, response: Response) -> None:
    check_unchanged(scene, response)
    if response == "ok":
        assert stored_item(scene.moved) == ANONYMOUS | {USER_ID: ADA}
        assert stored_item(scene.anonymous) == {}
    else:
        # The one case that Django's contract requires: cycled, but the save after it failed.
        assert stored_item(scene.anonymous) in (ANONYMOUS, {})


def check_flushed(scene: Scene, response: Response) -> None:
    assert stored_item(scene.ada) in ([{}] if response == "ok" else [OLD, {}])


def check_ended(scene: Scene, response: Response) -> None:
    if response != "ok":
        end_sessions_of(services(), ADA)  # Repeating it completes it.
    assert stored_item(scene.ada) == stored_item(scene.also_ada) == {}


def ended_by_link(scene: Scene, response: Response) -> None:
    if response != "ok":
        end_linked(services(), FIRST)
    assert stored_item(scene.ada) == {}
    assert stored_item(scene.also_ada)


def check_worked(scene: Scene, response: Response, advance: Callable[[float], None]) -> None:
    """The next process finds the result, or can take over the work after the lease."""
    claim = run_sync(Leases(services()).claim(scene.secret, "next", seconds=LEASE))
    if response == "ok":
        assert claim.result == RESULT
        return
    for _ in range(scene.faults):  # A late write of a killed process may renew its lease once.
        if claim.result is not None or claim.held:
            return
        assert 0 < claim.wait <= LEASE + CLOCK_DIFFERENCE
        advance(claim.wait + 1)
        claim = run_sync(Leases(services()).claim(scene.secret, "next", seconds=LEASE))
    assert claim.held or claim.result == RESULT


Act = Callable[[Scene], None]
OPERATIONS: dict[str, tuple[Act, Callable[..., None]]] = {
    "load": (load, check_unchanged),
    "create": (create, check_created),
    "save": (save, check_changed),
    "merge": (merge, check_changed),
    "save links": (save_links, check_linked),
    "cycle": (cycle, check_cycled),
    "sign in": (sign_in, check_signed_in),
    "flush": (flush, check_flushed),
    "end all of a user": (end_all, check_ended),
    "end by link": (end_by_link, ended_by_link),
    "work once": (work_once, check_worked),
}


def check(name: str, scene: Scene, response: Response, advance: Callable[[float], None]) -> None:
    """Compare the stored state after an operation with the states that the design allows."""
    hold = OPERATIONS[name][1]
    if hold is check_worked:
        hold(scene, response, advance)
    else:
        hold(scene, response)
    assert stored_item(scene.bob) == {USER_ID: BOB, "token": "his"}
