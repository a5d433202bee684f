"""The ways in which a session or a connection ends, and the repetition after a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oauth.support.fixtures import BOB
from tests.oauth.support.logout_fixtures import post
from tests.oauth.support.stage import ADA, Stage


@dataclass(frozen=True)
class Departure:
    """An action, and the action that is done ``again`` after a failure.

    ``leaves`` are the providers whose grants are dropped. ``ends`` is True if the session ends,
    ``begins`` if there is a new one afterwards, ``reads`` if the action reads the session's
    content. Its calls up to ``after`` belong to another departure.
    """

    act: Callable[[Stage], Any]
    again: Callable[[Stage], Any]
    leaves: tuple[str, ...] = ()
    ends: bool = True
    begins: bool = False
    reads: bool = True
    after: str | None = None
    person: dict[str, Any] = field(default_factory=lambda: ADA)


def sign_out(stage: Stage) -> Any:
    return stage.visitor.client.post("/accounts/logout/")


def disconnect(stage: Stage) -> Any:
    return stage.visitor.client.post("/accounts/3rdparty/", {"account": stage.account})


def come_back(stage: Stage) -> Any:
    """Return from the provider, with the account that signed in there."""
    return stage.visitor.client.get(stage.callback)


def sign_in(stage: Stage) -> Any:
    return stage.visitor.sign_in(stage.providers["corp"])


def log_out_by_back_channel(stage: Stage) -> Any:
    return post(stage.logout_token)


BOTH = ("corp", "other")
DEPARTURES = {
    "sign-out": Departure(sign_out, sign_out, leaves=BOTH),
    "disconnect": Departure(disconnect, disconnect, leaves=("other",), ends=False),
    "other account": Departure(come_back, sign_in, leaves=BOTH, begins=True, person=BOB),
    "same account": Departure(come_back, sign_in, begins=True, after="GET /userinfo"),
    "back channel": Departure(log_out_by_back_channel, log_out_by_back_channel, reads=False),
}
