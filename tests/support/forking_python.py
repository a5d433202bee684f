"""The process that `warm_python` starts: it imports Django and its like, and forks for each order.

A script, not a module: nothing of ours is imported before a fork does it.
"""

import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import sys
import time
import types
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

# What can be imported without settings, and changes nothing by it.
MODULES = [
    "_pytest.config",
    "allauth.account.app_settings",
    "allauth.socialaccount.app_settings",
    "anyio._backends._asyncio",
    "asgiref.server",
    "botocore.client",
    "botocore.credentials",
    "botocore.parsers",
    "botocore.retries.standard",
    "botocore.session",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "cryptography.x509",
    "django.apps",
    "django.conf.urls.i18n",
    "django.contrib.admin.options",
    "django.contrib.messages.middleware",
    "django.contrib.sessions.backends.base",
    "django.contrib.staticfiles.finders",
    "django.core.handlers.asgi",
    "django.core.handlers.wsgi",
    "django.core.mail",
    "django.core.management",
    "django.core.serializers.json",
    "django.core.servers.basehttp",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.db.models",
    "django.forms",
    "django.template.loader",
    "django.views.csrf",
    "django.views.debug",
    "django.views.generic",
    "environ",
    "httpcore2",
    "httptools",
    "httpx2",
    "jwt",
    "logging.config",
    "pytest",
    "requests",
    "uvicorn",
    "uvicorn.protocols.http.httptools_impl",
]
RUNNER = ("_pytest", "iniconfig", "pluggy", "pygments", "pytest")  # who does not run it forgets it
# Who does forgets these: it would warn that it cannot rewrite the assertions of a plugin's package.
OF_PLUGINS = ("anyio", "httpcore2", "httpx2")
PATH_MAX = 4096  # more descriptors than it has
# Name, mode and errors, as Python has them where the locale is C, or UTF-8.
STREAMS = (
    ("stdin", "rb", "surrogateescape"),
    ("stdout", "wb", "surrogateescape"),
    ("stderr", "wb", "backslashreplace"),
)


def serve(orders: socket.socket) -> dict[str, Any]:
    """Fork for each order until there are no more; return the order in the fork."""
    while True:
        size, streams, _, _ = socket.recv_fds(orders, 8, len(STREAMS))
        if not size:
            sys.exit()
        received = b""
        while len(received) < int.from_bytes(size, "big"):
            received += orders.recv(65536)
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            between = os.getpid()
            if new := os.fork():
                os.write(writing, new.to_bytes(8, "big"))
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0)
            take(streams)
            order: dict[str, Any] = json.loads(received)
            return order
        for each in (*streams, writing):
            os.close(each)
        os.waitpid(between, 0)  # Now the fork is a child of who ordered it.
        orders.send(os.read(reading, 8))
        os.close(reading)


def take(streams: list[int]) -> None:
    """Have these as standard streams, and no other descriptor."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
    os.closerange(len(streams), PATH_MAX)
    for number, (name, mode, errors) in enumerate(STREAMS):
        buffer: Any = open(number, mode, closefd=False)  # noqa: SIM115 - as Python opens it
        buffer.raw.name = f"<{name}>"
        is_lined = number == 2 or (number == 1 and os.isatty(number))
        stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=is_lined)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def prepare(order: dict[str, Any]) -> None:
    """Make this process what Python would have made it."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.orig_argv = order["command"]
    sys.argv = [order["kind"] or order["what"], *order["arguments"]]
    first = {"-c": "", "-m": str(Path.cwd()), "": str(Path(order["what"]).resolve().parent)}
    searched = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [first[order["kind"]], *map(os.path.abspath, searched), *sys.path[1:]]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.warnoptions = order["warnings"]
    warnings._processoptions(order["warnings"])  # type: ignore[attr-defined]
    forgotten = OF_PLUGINS if order["what"] == "pytest" else RUNNER
    for name in [name for name in sys.modules if name.partition(".")[0] in forgotten]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.modules["__main__"] = types.ModuleType("__main__")


def run(order: dict[str, Any]) -> None:
    main = vars(sys.modules["__main__"])
    if order["kind"] == "-m":
        runpy._run_module_as_main(order["what"])  # type: ignore[attr-defined]
        return
    code, name = order["what"], "<string>"
    if not order["kind"]:
        name = order["what"]
        code = Path(name).read_text(encoding="utf-8")
        main["__file__"] = str(Path(name).absolute())
    exec(compile(code, name, "exec"), main)  # noqa: S102 - what a test gave it


if __name__ == "__main__":
    for module in MODULES:
        with suppress(ImportError):  # The benchmark's environment has no pytest.
            importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as listened:
        current = serve(listened)
        listened.detach()
    prepare(current)
    run(current)
