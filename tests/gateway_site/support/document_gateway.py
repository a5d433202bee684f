"""A gateway in a process of its own that fetches clients' documents from an internet of a test's.

    python -m tests.gateway_site.support.document_gateway PORT DOCUMENTS PEOPLE

DOCUMENTS is the port of the server that answers for `HOST`, by TLS. It prints a session key for
each of PEOPLE as JSON, then serves. A fetch may take a minute: no test measures the machine.
"""

from __future__ import annotations

import json
import sys

import pytest
import uvicorn

from tests.gateway_site.support import serving  # first: it sets Django up

from django.contrib.auth.models import User  # isort: skip
from django.core.management import call_command  # isort: skip
from django.db import connections  # isort: skip

from gateway_site.server import OPTIONS
from oauth.clients import metadata_documents
from tests.gateway_site.support.documents import HOST, PATIENCE
from tests.oauth.support.hostile import ADDRESS, Internet
from tests.sessions_kms.support.stacks import install


def main() -> None:
    port, site, people = map(int, sys.argv[1:])
    internet = Internet()
    internet.name(HOST, ADDRESS)
    internet.servers[ADDRESS, 443] = site
    internet.take_over(pytest.MonkeyPatch())
    metadata_documents.FETCH_TIMEOUT = metadata_documents.WAIT_MAX = PATIENCE
    install(serving.stack.services)
    call_command("migrate", verbosity=0)
    users = [User.objects.create_user(f"person-{number}") for number in range(people)]
    keys = [serving.sign_in(user) for user in users]
    connections.close_all()  # of this thread, which the event loop will have
    sys.stdout.write(json.dumps(keys) + "\n")
    sys.stdout.flush()
    uvicorn.run(serving.with_control, port=port, log_config=None, **OPTIONS)


if __name__ == "__main__":
    main()
