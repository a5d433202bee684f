"""The responses to visitors while DynamoDB hangs.

The load that this machine sustains is measured; then 60 % of it goes on, whatever comes
back, while the DynamoDB is stopped (SIGSTOP) for twenty seconds and goes on again.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests.soak.environment import environment_of
from tests.soak.fleet import running_fleet
from tests.soak.visitor import TOKEN
from tests.support.local_kms import running_kms
from tests.support.processes import free_port
from tests.support.waiting import wait_for

PEOPLE = 16
MEASURED = 10.0  # seconds
SHARE = 0.6
BEFORE, HANGING, AFTER = 5.0, 20.0, 10.0  # seconds
SETTLED = 10.0  # seconds after which answers must come at once
RECOVERED = 2.0  # seconds after the return within which all must be as before
RESPONSE, SOON = 4.5, 0.5  # seconds
TIMEOUT = 60.0  # seconds of a client
HOPS = 8


@dataclass
class Reply:
    """One response of the gateway: when it was asked for, by the load's clock, and how it came."""

    at: float
    took: float
    status: int


@dataclass
class Load:
    """Visitors of one gateway, and what came back."""

    url: str
    chance: random.Random
    replies: list[Reply] = field(default_factory=list)
    began: float = 0.0
    people: list[httpx2.AsyncClient] = field(default_factory=list)

    async def ask(
        self, client: httpx2.AsyncClient, method: str, url: str, data: dict[str, str] | None = None
    ) -> httpx2.Response | None:
        """Ask, and note what came back if it was the gateway's."""
        asked_at = time.monotonic()
        try:
            response = await client.request(method, url, data=data)
        except httpx2.HTTPError:
            response = None
        if url.startswith(self.url):
            took = time.monotonic() - asked_at
            status = response.status_code if response is not None else 0
            self.replies.append(Reply(asked_at - self.began, took, status))
        return response

    async def sign_in(self, client: httpx2.AsyncClient) -> bool:
        """Go to the provider and back."""
        page = await self.ask(client, "GET", f"{self.url}/")
        token = TOKEN.search(page.text) if page is not None else None
        if token is None:
            return False
        form = {"csrfmiddlewaretoken": token[1]}
        url = f"{self.url}/accounts/oidc/corp/login/"
        response = await self.ask(client, "POST", url, form)
        for _ in range(HOPS):
            if response is None or not response.is_redirect:
                break
            url = urljoin(url, response.headers["Location"])
            response = await self.ask(client, "GET", url)
        return response is not None and response.status_code == 200

    async def visit(self) -> None:
        """Do one thing: a call in 60 of 100 cases, a page in 30, a sign-in in 10."""
        kind = self.chance.choices(["call", "page", "sign-in"], [60, 30, 10])[0]
        if kind == "sign-in":
            async with browser() as client:
                await self.sign_in(client)
            return
        path = "/gateway/bench/" if kind == "call" else "/"
        await self.ask(self.chance.choice(self.people), "GET", self.url + path)

    async def sustained(self) -> float:
        """Return how many visits a second are served when the next follows the last."""
        done, deadline = 0, time.monotonic() + MEASURED

        async def one_after_the_other() -> None:
            nonlocal done
            while time.monotonic() < deadline:
                await self.visit()
                done += 1

        await asyncio.gather(*[one_after_the_other() for _ in range(PEOPLE)])
        return done / MEASURED

    async def offered(self, rate: float, pid: int) -> None:
        """Begin visits at a rate, whatever comes back, while DynamoDB is stopped and goes on."""
        self.replies.clear()
        visits: set[asyncio.Task[None]] = set()
        self.began = time.monotonic() + BEFORE
        plan = [(0.0, signal.SIGSTOP), (HANGING, signal.SIGCONT)]
        while (now := time.monotonic() - self.began) < HANGING + AFTER:
            if plan and now >= plan[0][0]:
                os.kill(pid, plan.pop(0)[1])
            visits.add(asyncio.create_task(self.visit()))
            await asyncio.sleep(self.chance.expovariate(rate))
        await asyncio.gather(*visits)


@asynccontextmanager
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx2.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
        yield client


async def run_load(url: str, pid: int) -> Load:
    load = Load(url, random.Random(1))  # noqa: S311 - no secret
    async with AsyncExitStack() as stack:
        for _ in range(PEOPLE):
            client = await stack.enter_async_context(browser())
            if not await load.sign_in(client):
                raise RuntimeError("A sign-in failed.")
            load.people.append(client)
        rate = await load.sustained()
        tell(f"sustained: {rate:.0f} visits a second; offered: {rate * SHARE:.0f}")
        await load.offered(rate * SHARE, pid)
    return load


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def is_as_promised(replies: list[Reply]) -> bool:
    """Tell what came back second by second, and whether it was as promised."""
    for second in range(-int(BEFORE), int(HANGING + AFTER)):
        found = [each for each in replies if second <= each.at < second + 1]
        slowest = max((each.took for each in found), default=0)
        statuses = dict(sorted(Counter(each.status for each in found).items()))
        tell(f"{second:4} s  {len(found):4} asked  slowest {slowest:5.2f} s  {statuses}")
    slow = [each for each in replies if each.took > RESPONSE]
    late = [each for each in replies if SETTLED <= each.at < HANGING and each.took > SOON]
    good = (200, 302)
    bad = [each for each in replies if each.at > HANGING + RECOVERED and each.status not in good]
    odd = [each for each in replies if each.status not in (*good, 503)]
    tell(
        f"{len(replies)} answers; slowest {max(each.took for each in replies):.2f} s;"
        f" over {RESPONSE} s: {len(slow)}; over {SOON} s from the tenth second: {len(late)};"
        f" not good {RECOVERED} s after the return: {len(bad)}; odd: {len(odd)}"
    )
    return not (slow or late or bad or odd)


def run(*, prints_log: bool) -> int:
    """Print what came back; return 1 if it was not what `docs/contributing/soak.md` promises."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        binary = Path(sysconfig.get_path("scripts")) / "roto-server"
        dynamodb = stack.enter_context(
            subprocess.Popen(
                [binary, "--ephemeral", "--port", str(port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        stack.callback(dynamodb.kill)
        wait_for(f"http://127.0.0.1:{port}")
        kms = stack.enter_context(running_kms())
        os.environ |= {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}",
            "AWS_ENDPOINT_URL_KMS": kms.url,
        }
        fleet = stack.enter_context(running_fleet(1, environment_of(stack, folder), folder))
        replies = asyncio.run(run_load(fleet[0].url, dynamodb.pid)).replies
        passed = is_as_promised(replies)
        log = (folder / "gateway-0.log").read_text(errors="replace")
        for line in log.splitlines():
            if "sessions_kms.circuit " in line:
                tell(line)
        if prints_log:
            tell(log[-5000:])
    return 0 if passed else 1
