"""Questions to a provider's API about one person, with their own token and in bounded time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.http import Answer
from oauth.network.vetted_addresses import Reach

TOGETHER = 10.0  # seconds for all questions of one sign-in


class Asking:
    """The questions of one sign-in. Each raises ProviderUnavailable when there is no answer."""

    def __init__(
        self,
        access_token: str,
        reach: Reach,
        headers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._headers = {**headers, "Authorization": f"Bearer {access_token}"}
        self._reach = reach
        self._clock = clock
        self._end = clock() + TOGETHER

    def get(self, url: str) -> Answer:
        """Get a document."""
        __traceback_hide__ = True
        return self._ask("GET", url, None)

    def post(self, url: str, content: Mapping[str, Any]) -> Answer:
        """Post a JSON object."""
        __traceback_hide__ = True
        return self._ask("POST", url, json.dumps(content).encode())

    def _ask(self, method: str, url: str, body: bytes | None) -> Answer:
        __traceback_hide__ = True
        left = self._end - self._clock()
        if left <= 0:
            raise ProviderUnavailable("The provider answers too slowly.")
        headers = self._headers if body is None else self._headers | {"Content-Type": JSON}
        patience = min(left, http.GET_TIMEOUT)
        answer = http.ask(method, url, headers, body, reach=self._reach, patience=patience)
        if answer.is_overloaded:
            raise ProviderUnavailable("The provider tells nothing of the account now.")
        return answer


JSON = "application/json"


def members(answer: Answer) -> list[Mapping[str, Any]]:
    """Return the objects of an answer that is a list. Raises ProviderUnavailable."""
    __traceback_hide__ = True
    try:
        found = json.loads(answer.body)
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, list) or not http.is_shallow(found):
        raise ProviderUnavailable("The provider's answer cannot be read.")
    return [each for each in found if isinstance(each, Mapping)]
