"""Node's express-openid-connect in front of http-proxy, with sessions in a cookie or DynamoDB."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.bench.peer_proxies import Missing
from tests.support.processes import free_port
from tests.support.production import children

FOLDER = Path(__file__).parent
Store = Literal["cookie", "dynamodb"]


@contextmanager
def running(issuer: str, upstream: str, store: Store, folder: Path) -> Iterator[tuple[int, int]]:
    """Start it; yield its process id and its port. Raises Missing."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        raise Missing("Node with express-openid-connect (npm ci in tests/bench/peer_proxies)")
    folder.mkdir()
    port = free_port()
    options = {"port": port, "issuer": issuer, "upstream": upstream, "store": store}
    command = [node, str(FOLDER / "express.js"), json.dumps(options)]
    with children.server(command, port, log=folder / "out.log") as pid:
        yield pid, port
