"""Every interleaving of requests with a grant's tokens, with the real code, call by call.

A request is represented by the results of its calls so far (its history): with the same history it
takes the same steps, since random bytes and time are fixed. So a state is plain data, and each is
visited once: the table, the delayed writes, and every request's history. The table is the one in
memory, which checks conditions. A crash is a request that takes no further step: the invariants
must hold in every state.

Faults of a call: a read without a response; a write whose response is lost, that was never applied,
or that arrives later, after any other step, if its condition holds then. Deletions in the
background also happen at any later step or never.
"""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from oauth.clients import grant_end, timed_deletions, token_pair
from oauth.clients.grants import Grants
from oauth.clients.rules.errors import GrantError
from oauth.clients.sealed_grant import SealedGrant, TokenResponse
from oauth.clients.token_pair import CODE_GRACE, Lifetimes
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.exceptions import FateUnknown, StoreUnavailable, TableUnavailable
from sessions_kms.grant_store import end_grant_by_id
from sessions_kms.sealed_items.tokens import SealedToken, Tokens, TokenTombstone
from sessions_kms.services import Services
from sessions_kms.storage.not_before import NotBefore
from tests.oauth.support.grants import ASKED, CONSENT, VERIFIER, GrantWorld
from tests.oauth.support.interleaved import (
    NO_RESPONSE,
    UNKNOWN,
    Client,
    Deletion,
    Explored,
    Items,
    Next,
    Request,
    Result,
    Send,
    State,
    Way,
    after_deletion,
    broken_promises,
    forgotten_tokens,
    labels_of,
    live_in,
    name_of,
    promise_of,
)
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.stepping import resume
from tests.support.clock import FakeClock

GRACE = 120  # seconds; the unit of time here
START = 1_800_000_000
HONEST, SECOND, THIEF, LURKER, ENDS, REVOKES = "H", "H2", "T", "L", "E", "X"
REPLAYS = "V"  # the code with its verifier, later than an honest client sends it
HONEST_ONES = {HONEST, SECOND}  # two processes of one client, each with its own token store
# Other data about the grant; nothing depends on it.
BESIDE = ("about#", "data-key#", "logout#", "not-before#")


class Interleaving:
    """Some requests for one grant, named in ``scene``, such as "H H E"."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        scene: str,
        *,
        faults: int,
        ticks: int,
        access_age: int = 30,  # lifetime of an access token, in grace periods
    ) -> None:
        self._scene = scene.split()
        self._faults, self._ticks = faults, ticks
        self._random = random.Random(0)  # noqa: S311 - what is wanted is the same again
        patch.setattr("sessions_kms.storage.writes.call_table", Send.steps)
        patch.setattr("sessions_kms.storage.table.call_table", Send.steps)
        patch.setattr("os.urandom", self._random_bytes)
        patch.setattr("secrets.choice", self._random.choice)
        self._deletions: list[Deletion] = []
        patch.setattr(grant_end, "delete_items_soon", self._remove_soon)
        # Its thread would delete an ended item of whatever state is looked at by then.
        patch.setattr(timed_deletions, "delete_once_ended", lambda *_: None)
        self._minted: dict[str, str] = {}
        self._opened: dict[str, str] = {}
        self._next: dict[tuple[Any, ...], Next] = {}
        self.world = GrantWorld(lifetimes=Lifetimes(access_token_age=GRACE * access_age))
        self.clock = FakeClock(START)
        still = NotBefore(_nothing, at_least=0, clock=lambda: START)
        self._services = replace(self.world.world.processes[0], clock=self.clock, not_before=still)
        self._table = self.world.world.table
        self.arrival: Callable[[float], Any] = float  # the arrival time of a request

    def started_with(self, start: str) -> State:
        """Return the state with a "code", with a live first token, or with an "old" used one."""
        install(self._services)
        self.world.grants = self._process(self._services)
        holds = code = self.world.allow()
        self._mint(code)
        thieves, self._promised = "", []
        if start != "code":
            first = self.world.redeem(code)
            thieves = holds = first.refresh_token
            self._mint(first.access_token)
            self._promised.append(promise_of(first, START, Tokens(self._services).id_of))
        if start == "old":
            holds = self.world.refresh(thieves).refresh_token
        for each in (holds, thieves):
            self._mint(each)
        self._deletions.clear()
        self._thieves, self._code = thieves, code
        (self._session,) = (each for each in self._table.items if "#" not in each)
        requests = tuple(Request(who) for who in self._scene)
        clients = {each: Client(holds) for each in HONEST_ONES & {*self._scene}}
        return State(0, dict(self._table.items), (), self._faults, requests, clients)

    def explore(self, start: str = "refresh", *, until_found: bool = False) -> Explored:
        """Visit every reachable state once; or stop at the first violation."""
        first = self.started_with(start)
        found, seen = Explored(), {first.digest()}
        queue: deque[tuple[State, Way]] = deque([(first, ())])
        while queue:
            state, way = queue.popleft()
            found.states += 1
            for violation in self._violations(state):
                found.violations.setdefault(violation, labels_of(way))
            if found.violations and until_found:
                break
            for label, after in self._steps(state):
                if (digest := after.digest()) not in seen:
                    seen.add(digest)
                    queue.append((after, (way, label)))
            for number, each in enumerate(state.requests):
                if each.begun and (result := self._after(number, each).result) is not None:
                    report = "ok" if isinstance(result, TokenResponse) else str(result)
                    found.results.add((each.who, report))
        return found

    # The next steps

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        if state.tick < self._ticks:
            yield "a grace passes", state._replace(tick=state.tick + 1)
        for at, (by, late) in enumerate(state.late):
            items, _ = self._send_to_table(state, late)
            rest = state.late[:at] + state.late[at + 1 :]
            yield f"a write of {by} arrives", self._with(state, items)._replace(late=rest)
        for deletion in state.leaving:
            items = after_deletion(state.items, deletion)
            rest_of = state.leaving - {deletion}
            yield "a deletion arrives", state._replace(items=items, leaving=rest_of)
        for number, each in enumerate(state.requests):
            if not each.begun:
                yield from self._begin(state, number, each)
            elif (send := self._after(number, each).send) is not None:
                yield from self._call(state, number, each, send)
            elif not each.is_delivered and each.who in HONEST_ONES:
                yield f"{number} is answered", self._deliver(state, number, each)

    def _begin(self, state: State, number: int, each: Request) -> Iterator[tuple[str, State]]:
        before = state.requests[:number]
        if any(other.who == each.who and not other.begun for other in before):
            return
        if each.who in HONEST_ONES:
            client = state.clients[each.who]
            late = client.first is not None and state.tick - client.first > 1
            late |= client.token == self._code and state.tick > 0  # A code expires in a minute.
            if client.status == "out" or late:
                return
            first = state.tick if client.first is None else client.first
            state = state.holding(each.who, client._replace(first=first, awaits=number))
            shown = client.token
        else:
            if each.who == THIEF and not self._is_late(state, self._thieves, state.tick):
                return
            if each.who == REPLAYS and not self._is_late(state, self._code, state.tick):
                return
            held = state.clients.get(HONEST, Client("")).token
            codes = {LURKER: self._code, REPLAYS: self._code}
            others = {THIEF: self._thieves, REVOKES: held, **codes}
            shown = others.get(each.who, "")
        request = each._replace(token=shown, arrived=state.tick)
        yield f"{number}{each.who} presents {shown[:8]}", self._put(state, number, request)

    def _call(
        self, state: State, number: int, each: Request, send: Send
    ) -> Iterator[tuple[str, State]]:
        items, report = self._send_to_table(state, send)
        label = f"{number}{each.who} {send.operation}"
        went = self._with(state, items)
        if send.operation == "delete_item" and each.who != ENDS:
            went = went._replace(ended_by=went.ended_by | {number})
            if each.who in HONEST_ONES and self._is_in_time(state, each):
                went = went._replace(ended_hastily=went.ended_hastily | {number})
        yield label, self._tell(went, number, each, report)
        if not state.faults:
            return
        less = went._replace(items=state.items, was_ended=state.was_ended)
        less = less._replace(faults=state.faults - 1)
        if send.operation == "get_item":
            failed = Result(NO_RESPONSE, None, TableUnavailable(), state.tick)
            yield f"{label}: no answer", self._tell(less, number, each, failed)
            return
        unknown = Result(UNKNOWN, None, FateUnknown(), state.tick)
        lost = self._with(less, items)
        yield f"{label}: the answer is lost", self._tell(lost, number, each, unknown)
        if items != state.items:
            yield f"{label}: never applied", self._tell(less, number, each, unknown)
            late = less._replace(late=(*less.late, (number, send)))
            yield f"{label}: delayed", self._tell(late, number, each, unknown)

    def _deliver(self, state: State, number: int, each: Request) -> State:
        client, result = state.clients[each.who], self._after(number, each).result
        if client.awaits == number:
            if isinstance(result, TokenResponse):
                client = Client(result.refresh_token, status="ok")
            elif result == "invalid":
                client = client._replace(awaits=None, status="out")
            else:
                status = "503" if each.has_met_faults or each.was_held_up else "stuck"
                client = client._replace(awaits=None, status=status)
        request = each._replace(is_delivered=True)
        return self._put(state, number, request).holding(each.who, client)

    # Running the steps

    def _after(self, number: int, each: Request) -> Next:
        """Return a request's next step after its history, by running it from the start."""
        key = (number, *each.key())
        if key not in self._next:
            self._next[key] = self._replay(number, each)
        return self._next[key]

    def _replay(self, number: int, each: Request) -> Next:
        self._random.seed(number)
        self._deletions.clear()
        services = replace(self._services, write_queues=WriteQueues())
        install(services)
        self.clock.now = START + GRACE * each.arrived
        steps = self._present(self._process(services), each)
        report = iter(each.history)
        outcome, error = None, None
        try:
            while True:
                wait = resume(steps, outcome, error)
                if isinstance(wait, Send) and not _is_beside(wait):
                    if (response := next(report, None)) is None:
                        steps.close()
                        return Next(wait, deletions=tuple(self._deletions))
                    self.clock.now = START + GRACE * response.tick
                    outcome, error = copy.deepcopy(response.outcome), _anew(response.error)
                else:
                    outcome, error = _finish(wait)
        except StopIteration as end:
            if isinstance(end.value, TokenResponse):
                self._mint(end.value.refresh_token)
                self._mint(end.value.access_token)
            return self._make_end(end.value or "done")
        except GrantError:
            return self._make_end("invalid")
        except StoreUnavailable:
            return self._make_end("503")

    def _make_end(self, result: Any) -> Next:
        return Next(result=result, at=self.clock.now, deletions=tuple(self._deletions))

    def _remove_soon(self, _: Services, ids: Iterable[str], *, ended_by: int | None = None) -> None:
        """Replace the deletion in the background."""
        if found := tuple(dict.fromkeys(ids)):
            self._deletions.append((found, ended_by))

    def _process(self, services: Services) -> Grants:
        return Grants(services, self.world.lifetimes)

    async def _present(self, grants: Grants, each: Request) -> Any:
        if each.who == ENDS:
            return await end_grant_by_id(grants._services, self._session)
        if each.who == REVOKES:
            return await grants.revoke(each.token, client_id=CONSENT.client_id)
        asked = ASKED | {"arrived_at": self.arrival(START + GRACE * each.arrived)}
        if token_pair.is_token(each.token, token_pair.CODE):
            verifier = "w" * 43 if each.who == LURKER else VERIFIER
            return await grants.redeem(each.token, verifier=verifier, redirect_uri=None, **asked)
        return await grants.refresh(each.token, scope=None, **asked)

    def _send_to_table(self, state: State, send: Send) -> tuple[Items, Result]:
        """Run a call on the table; return the items afterwards, and the result."""
        self._table.items = dict(state.items)
        outcome, error = _finish(send)
        name = repr(error) + name_of(getattr(error, "item", None)) if error else name_of(outcome)
        return self._table.items, Result(name, outcome, error, state.tick)

    def _tell(self, state: State, number: int, each: Request, report: Result) -> State:
        after = each._replace(history=(*each.history, report))
        before = len(self._after(number, each).deletions)
        new = self._after(number, after).deletions[before:]
        if self._session in state.items:
            return self._put(state._replace(leaving=state.leaving | {*new}), number, after)
        for deletion in new:  # The time of its arrival no longer matters.
            items = after_deletion(state.items, deletion)
            state = state._replace(items=items)
        return self._put(state, number, after)

    def _put(self, state: State, number: int, request: Request) -> State:
        requests = (*state.requests[:number], request, *state.requests[number + 1 :])
        return state._replace(requests=requests)

    def _with(self, state: State, items: Items) -> State:
        ended = state.was_ended or self._session not in items
        return state._replace(items=items, was_ended=ended)

    def _mint(self, minted: str) -> None:
        if minted:
            self._minted[Tokens(self._services).id_of(minted)] = minted

    # The invariants

    def _violations(self, state: State) -> Iterator[str]:
        lives = self._session in state.items
        if lives and state.was_ended:
            yield "a session that had ended is there again"
        if sum(self._what(state, each) == "live" for each in self._refresh_tokens(state)) > 1:
            yield "two live refresh tokens"
        for number, each in enumerate(state.requests):
            result = self._after(number, each).result if each.begun else None
            yield from self._wrongly_ended(state, number, each, result)
            yield from self._wrongly_told(state, each, result)
        yield from self._at_rest(state, lives=lives)
        if lives:
            yield from self._of_access_tokens(state)

    def _of_access_tokens(self, state: State) -> Iterator[str]:
        now, id_of = START + GRACE * state.tick, Tokens(self._services).id_of
        report = (self._after(*each) for each in enumerate(state.requests) if each[1].begun)
        responses = [each for each in report if isinstance(each.result, TokenResponse)]
        promises = [promise_of(each.result, each.at, id_of) for each in responses]
        opened = (self._truth(state, each) for each in self._refresh_tokens(state))
        named = live_in(opened)
        most = token_pair.NAMED_MAX
        promises += self._promised
        yield from broken_promises(promises, state.items, now, named, most)
        minted = [item_id for item_id, each in self._minted.items() if each.startswith("gwa_")]
        if not self._faults:  # After a lost write, nobody knows which token exceeded the limit.
            yield from forgotten_tokens(minted, state.items, now, named, state.leaving)

    def _wrongly_ended(
        self, state: State, number: int, each: Request, result: Any
    ) -> Iterator[str]:
        lives, ended = self._session in state.items, number in state.ended_by
        if number in state.ended_hastily:
            yield "an honest client's request within the grace ended its grant"
        if each.who == LURKER and (ended or isinstance(result, TokenResponse)):
            yield "somebody without the verifier got or ended something"
        shown = Tokens(self._services).id_of(each.token)
        is_revoked = each.who == REVOKES and result == "done"
        # A concurrent exchange may rewrite its tombstone, which opens nothing and expires in days.
        stays = "spentAt" not in state.items.get(shown, {"spentAt": None})
        if is_revoked and stays and not state.leaving:
            yield "the item of a token that was revoked stays"
        if each.who in {ENDS, REVOKES} and result == "done" and lives:
            yield "the grant lives after an acknowledged end"
        if each.who in {THIEF, REPLAYS} and result == "invalid" and lives:
            yield "reuse was answered, but the grant lives"

    def _wrongly_told(self, state: State, each: Request, result: Any) -> Iterator[str]:
        if not isinstance(result, TokenResponse):
            return
        if each.who in {THIEF, REPLAYS}:
            yield "a thief got a pair for an old token"
        given = Tokens(self._services).id_of(result.refresh_token)
        if given not in state.items and self._session in state.items:
            yield "told a token that does not exist"
        others = (other for other in enumerate(state.requests) if other[1].token == each.token)
        responses = (self._after(*other).result for other in others)
        pairs = [
            response.refresh_token for response in responses if isinstance(response, TokenResponse)
        ]
        if len(set(pairs)) > 1:
            yield "one token was answered by two pairs"
        if each.token == self._code and len(pairs) > 1:
            yield "a code was answered twice"

    def _at_rest(self, state: State, *, lives: bool) -> Iterator[str]:
        if HONEST not in state.clients:
            return
        client = state.clients[HONEST]
        # A client that sends a code twice has the first response, or asks the person again.
        if client.status == "out" and lives and client.token != self._code:
            yield "an honest client is told invalid_grant while the grant lives"
        others = any(
            each.begun and each.who in {SECOND, THIEF, REPLAYS, ENDS, REVOKES}
            for each in state.requests
        )
        if client.status == "stuck" and lives and not others:
            yield "an honest client that met no fault is told to come again"
        rests = not state.late and all(
            not each.begun or each.is_delivered or each.who == LURKER for each in state.requests
        )
        holds = client.status != "ok" or self._what(state, client.token) == "live"
        if rests and lives and not others and not holds:
            yield "an honest client at rest holds no live token"

    def _is_in_time(self, state: State, each: Request) -> bool:
        """Return True if a request of an honest client must not end the grant.

        Of two processes that both store the tokens, one may send an old token at any time.
        """
        return SECOND not in state.clients or not self._is_late(state, each.token, each.arrived)

    def _is_late(self, state: State, minted: str, tick: int) -> bool:
        """Return True if a code or token was used longer ago than its grace period."""
        spent = self._truth(state, minted)
        at = spent.spent_at if isinstance(spent, TokenTombstone | SealedGrant) else None
        grace = CODE_GRACE if minted == self._code else GRACE
        return at is not None and START + GRACE * tick - at > grace

    def _refresh_tokens(self, state: State) -> Iterator[str]:
        for item_id in state.items:
            if (minted := self._minted.get(item_id, "")).startswith(token_pair.REFRESH):
                yield minted

    def _what(self, state: State, minted: str) -> str:
        found = self._truth(state, minted)
        if found is None or isinstance(found, TokenTombstone):
            return "nothing"
        return "live" if found.key is not None else "spent"

    def _truth(self, state: State, minted: str) -> Any:
        """Decrypt a token's item, outside of the requests' steps; each version of it once."""
        item = state.items.get(Tokens(self._services).id_of(minted))
        name = name_of(item)
        if name not in self._opened:
            self._table.items = dict(state.items)
            self.clock.now = START + GRACE * self._ticks  # so that no item is in the future
            found = run_sync(Tokens(self._services).find(minted))
            sealed = isinstance(found, SealedToken)
            self._opened[name] = SealedGrant.from_bytes(found.content) if sealed else found  # type: ignore[union-attr,assignment]
        return self._opened[name]

    def _random_bytes(self, length: int) -> bytes:
        return self._random.randbytes(length)


def _finish(wait: Any) -> tuple[Any, BaseException | None]:
    try:
        return wait.block(), None
    except Exception as exc:  # noqa: BLE001 - the steps decide
        return None, exc.with_traceback(None)


def _anew(error: BaseException | None) -> BaseException | None:
    return None if error is None else copy.copy(error).with_traceback(None)


def _is_beside(send: Send) -> bool:
    key = send.params.get("Key") or send.params.get("Item") or {"id": {"S": ""}}
    item_id: str = key["id"]["S"]
    return item_id.startswith(BESIDE)


async def _nothing() -> int:
    return 0
