"""The MCP conformance tool's suite for authorization servers: it passes wholly, or it failed.

A place enters; what is wrong leaves. The tool signs in by itself, as a client that registered.
"""

import re
import subprocess
from threading import Timer

from tests import ROOT
from tests.e2e.clients import register_client
from tests.e2e.stack import LocalStack
from tests.mcp_clients import node
from tests.mcp_clients.place import Place
from tests.support.processes import free_port

NAME = "conformance tool"
PACKAGE = "@modelcontextprotocol/conformance"
TIMEOUT = 180  # seconds
BEGINNING = re.compile(r"^Running test \((\d+) scenarios\)", re.MULTILINE)
END = re.compile(r"^Total: (\d+) passed, 0 failed$", re.MULTILINE)


def missing() -> str | None:
    """Return why the tool cannot run here; None where it can."""
    return node.missing(PACKAGE)


def wrong(said: str) -> str | None:
    """Return what is wrong by what the tool said: a scenario that it skips passes nothing."""
    scenarios, passed = BEGINNING.search(said), END.search(said)
    if scenarios is None or passed is None or scenarios[1] != passed[1] or "SKIP" in said.upper():
        return f"the conformance tool failed:\n{said}"
    return None


def output(place: Place, stack: LocalStack) -> str:
    """Run the suite, and return what it printed."""
    port = free_port()
    options = {
        "--url": stack.url,
        "--client-id": register_client(stack, f"http://127.0.0.1:{port}/callback"),
        "--resource": place.url,
        "--port": str(port),
    }
    words = (word for option in options.items() for word in option)
    with subprocess.Popen(
        node.command(node.MODULES / PACKAGE / "dist/index.js", "authorization", *words),
        env=place.environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        ending = Timer(TIMEOUT, process.kill)
        ending.start()
        said = "".join(open_place(place, line) for line in process.stdout or ())
        ending.cancel()
    return said


def open_place(place: Place, line: str) -> str:
    """Open an address that the tool asks a person to open; return the line."""
    if line.startswith("http"):
        subprocess.run([place.programs / "browser", line.strip()], check=True)
    return line
