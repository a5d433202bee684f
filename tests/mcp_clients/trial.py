"""One client under one disturbance: how it ended, in the words of `expected.py`.

A client enters, and how often its browser had been asked for before; an outcome leaves. Knows
neither the gateway nor what happened to it.
"""

import re
from collections.abc import Callable

from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.expected import ASKS_ONCE, AT_SECOND_TRY, GOES_ON

# Of the demo server's tool `whoami`; some clients show its JSON as a string within JSON.
NAME = "Ada Lovelace"
KIND = "the provider's"
DIGEST = re.compile(r"sha256\W+([0-9a-f]{12})")


def call_outcome(client: Client) -> str:
    """Call `whoami`; return the digest of the token that the MCP server got. Raises CallFailed."""
    text = client.call("whoami", {})
    digest = DIGEST.search(text)
    if NAME not in text or KIND not in text or digest is None:
        raise CallFailed(f"no answer of the tool: {text[:100]!r}")
    return digest[1]


def sign_in_outcome(client: Client) -> str:
    """Sign in and call, from nothing; return how that ended."""
    try:
        client.sign_in()
        call_outcome(client)
    except CallFailed as error:
        return f"no sign-in: {error}"
    return _name_outcome(client.place.times_asked, 0)


def end_outcome(client: Client, asked_before: int) -> tuple[str, str]:
    """Call, twice if need be, then sign in again as a person would; return the end, and the digest.

    Where nothing helps the end is the client's own word for it.
    """
    ways: tuple[Callable[[], None], ...] = (lambda: None, lambda: None, client.sign_in)
    said = ""
    for tries, way in enumerate(ways):
        try:
            way()
            digest = call_outcome(client)
        except CallFailed as error:
            said = str(error)
        else:
            return _name_outcome(client.place.times_asked - asked_before, tries), digest
    return f"stuck: {said}", ""


def _name_outcome(asked: int, failures: int) -> str:
    if asked == 0:
        return AT_SECOND_TRY if failures else GOES_ON
    return ASKS_ONCE if asked == 1 else f"asks {asked} times"
