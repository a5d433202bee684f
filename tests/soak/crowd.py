"""The OpenID provider of a crowd: each sign-in is that of a new person, unless
they say who they are (the parameter `person`).

Otherwise all visitors were one person with ever more sessions, whose pages grow with them.
"""

import json
import threading
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.oauth.support.fake_provider import Answer, FakeProvider


@dataclass
class Crowd(FakeProvider):
    """Knows by the refresh token whose a token is."""

    rotates: bool = False  # A killed process takes a rotated token with it.
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Answer:
        with self._turn:
            name = self.codes.get(form.get("code", ""), {}).get("person")
            known = self.people.get(form.get("refresh_token", ""))
            self.person = known or (_somebody(name) if name else self._somebody_new())
            answer = super().token(form, authorization, github=github)
            if answer[0] == 200 and (issued := json.loads(answer[2]).get("refresh_token")):
                self.people[issued] = self.person
            return answer

    def _somebody_new(self) -> dict[str, Any]:
        return _somebody(f"visitor-{next(self._numbers)}")


def _somebody(name: str) -> dict[str, Any]:
    return {"sub": name, "email": f"{name}@example.com", "name": name}
