"""How often each person may call an upstream, with each client. Counted in each process.

A rate of N calls in a period is kept as one time, at which a caller would have all N again (the
"generic cell rate algorithm"). It is for one event loop: nothing here may be called in two threads.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from gateway_site.rules.rate import Rate, fold_tool

DRAFT = "draft-ietf-httpapi-ratelimit-headers-11"  # of the two headers
POLICY_NAME = "calls"
PEOPLE_MAX = 50_000  # at one upstream each
CLIENTS_MAX = 16  # of a person that are counted apart; a document's host is quickly made up
SWEPT_FROM = 1024
SWEEP_INTERVAL = 1.0  # seconds, if nobody could be forgotten

Times = dict[tuple[str, Rate], float]


@dataclass(frozen=True, slots=True)
class RatedCaller:
    """Who is counted: a person at an upstream, and the client that they use; empty for none."""

    upstream: str
    person: str
    client: str = ""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A rate that a call would exceed, and the seconds until the next call may be made."""

    rate: Rate
    wait: float
    remaining: int = 0

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the response 429, by the draft's sections on the two items.

        A policy's name is a String (RFC 9651 section 3.3.3): `gateway_site.rules.rate` accepts no
        characters that it would have to escape. All parameters are Integers, in calls and seconds;
        `t` is the time until there is a call more, not until there are all of them.
        https://github.com/ietf-wg-httpapi/ratelimit-headers
        """
        seconds, rate = math.ceil(self.wait), self.rate
        name = f'"{rate.tools or POLICY_NAME}"'
        return {
            "Retry-After": str(seconds),
            "RateLimit-Policy": f"{name};q={rate.count};w={rate.seconds}",
            "RateLimit": f"{name};r={self.remaining};t={seconds}",
        }


class RateCounter:
    """Counts calls of a process. Its memory is bounded: who has been idle is forgotten."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._times: dict[tuple[str, str], Times] = {}
        self._sweep_at = SWEPT_FROM  # people
        self._sweep_after = -math.inf

    def take(self, caller: RatedCaller, rates: Iterable[Rate], tool: str | None) -> Exceeded | None:
        """Count a call of a tool, if any; return the rate that it exceeds and is not counted for.

        Calls count that something else rejects afterwards.
        """
        folded = None if tool is None else fold_tool(tool)
        limiting = [rate for rate in rates if rate.limits(folded)]
        if not limiting:
            return None
        now = self._clock()
        times = self._times_of(caller, now)
        if times is None:
            return Exceeded(limiting[0], SWEEP_INTERVAL)
        client = _counted_client(times, caller.client, now)
        taken: Times = {}
        for rate in limiting:
            interval = rate.seconds / rate.count
            time = max(times.get((client, rate), now), now) + interval
            # Rounding must not cost the last call of a burst.
            if (wait := time - now - rate.seconds) > interval / 1000:
                return Exceeded(rate, wait)
            taken[client, rate] = time
        times |= taken
        return None

    def _times_of(self, caller: RatedCaller, now: float) -> Times | None:
        """Return the times of a person at an upstream; None if there is no room for them."""
        key = caller.upstream, caller.person
        if (found := self._times.get(key)) is not None:
            return found
        if len(self._times) >= self._sweep_at and now >= self._sweep_after:
            self._sweep(now)
        if len(self._times) >= PEOPLE_MAX:
            return None
        return self._times.setdefault(key, {})

    def _sweep(self, now: float) -> None:
        """Forget who has all of their calls again."""
        self._times = {
            key: times for key, times in self._times.items() if max(times.values(), default=0) > now
        }
        self._sweep_at = min(max(SWEPT_FROM, 2 * len(self._times)), PEOPLE_MAX)
        self._sweep_after = now + SWEEP_INTERVAL


def _counted_client(times: Times, client: str, now: float) -> str:
    """Return the client, or the name that all further ones of a person are counted under."""
    known = {each for each, _ in times}
    if client in known or len(known) < CLIENTS_MAX:
        return client
    for key in [key for key, time in times.items() if time <= now]:
        del times[key]
    return client if len({each for each, _ in times}) < CLIENTS_MAX else "*"
