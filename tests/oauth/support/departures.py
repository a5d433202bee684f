"""The ways in which a person leaves, or is made to, and what they do who saw it fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oauth.support.fixtures import BOB
from tests.oauth.support.logout_fixtures import post
from tests.oauth.support.stage import ADA, Stage


@dataclass(frozen=True)
class Departure:
    """What is done and by whom, and what is done ``again`` after a failure.

    ``leaves`` names the providers whose grants are let go. ``ends`` tells whether the session
    does, ``begins`` whether another one is there afterwards, ``reads`` whether what it held is
    known to the one that ends it. Up to ``after`` its calls are another departure's.
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
    """Be sent back by the provider, with whoever signed in there."""
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
