"""Imports at the start of a process, and with its first session."""

import pytest

from tests.support.processes import output_of

# What the class of sessions does without. `urllib3` is boto's.
LATER = ("boto3", "botocore", "cryptography", "urllib3", "sessions_kms.services")
CLASS_MAX = 32  # modules of ours with the class alone: each costs some 0.2 ms
SITE_MAX = 46  # with the app and its middleware, in a server that has run no check

TOLD = f"""
import sys
def tell():
    ours = [name for name in sys.modules if name.partition(".")[0] == "sessions_kms"]
    print([name for name in {LATER!r} if name in sys.modules], len(ours))
"""
SITE = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
urlpatterns = []
settings.configure(
    SECRET_KEY="x" * 60,
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["sessions_kms"],
    MIDDLEWARE=[
        "sessions_kms.middleware.StoreUnavailableMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
    ],
    SESSION_ENGINE="sessions_kms.backend",
    SESSIONS_KMS={},
)
get_wsgi_application()
tell()
from django.core.management import call_command
from django.core.management.base import SystemCheckError
try:
    call_command("check")
except SystemCheckError as error:
    print(sorted({word for word in str(error).split() if word.startswith("(sessions_kms.E")}))
"""
# Nothing of it needs the network: boto's clients are made, and the session has no item to read.
CONFIGURED = """
import asyncio, os, sys, threading
from django.conf import settings
settings.configure(
    SESSIONS_KMS={
        "KEY_ID": "arn:aws:kms:eu-west-1:111122223333:key/a",
        "TABLE_NAME": "sessions",
        "REGION_NAME": "eu-west-1",
    }
)
from sessions_kms.backend import SessionStore
"""
FIRST = """
def first():
    found, together = [], threading.Barrier(8)
    def use():
        together.wait()
        session = SessionStore()
        session["a"] = 1
        pending = session._get_pending("a" * 32, session._repository())
        found.append((pending.payload, session._services))
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found) == 8 and len({(payload, id(made)) for payload, made in found}) == 1

child = os.fork()
if child == 0:
    os._exit(0 if first() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), first(), "boto3" in sys.modules)
"""
IN_A_LOOP = """
imported = []
def hear(event, args):
    if event == "import" and args[0].partition(".")[0] in {"sessions_kms", "botocore"}:
        imported.append(threading.current_thread() is threading.main_thread())
sys.addaudithook(hear)

async def first():
    session = SessionStore("a" * 32)
    await session._prepare()
    session._repository()
    session._session_cache = {"a": 1}
    session._get_pending(session._key, session._repository())
asyncio.run(first())
print(len(imported) > 50, any(imported))
"""


def test_session_class_is_imported_without_the_store() -> None:
    told = output_of(TOLD + "import sessions_kms.backend\ntell()", {"PATH": ""})
    later, _, count = told.rpartition(" ")
    assert later == "[]"
    assert int(count) <= CLASS_MAX


def test_server_starts_without_checks_and_a_check_finds_wrong_settings() -> None:
    started, checked = output_of(TOLD + SITE, {"PATH": ""}).splitlines()
    later, _, count = started.rpartition(" ")
    assert later == "[]"
    assert int(count) <= SITE_MAX
    assert checked == "['(sessions_kms.E003)', '(sessions_kms.E004)']"


@pytest.mark.slow
def test_threads_may_begin_at_once_also_in_a_forked_process() -> None:
    assert output_of(CONFIGURED + FIRST, {"PATH": ""}) == "0 True False"


@pytest.mark.slow
def test_event_loop_imports_nothing_of_it_in_its_own_thread() -> None:
    assert output_of(CONFIGURED + IN_A_LOOP, {"PATH": ""}) == "True False"
