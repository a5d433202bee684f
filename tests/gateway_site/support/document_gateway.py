"""A gateway in a separate process that fetches clients' documents from a test's own internet.

    python -m tests.gateway_site.support.document_gateway PORT DOCUMENTS PEOPLE

DOCUMENTS is the port of the TLS server for `HOST`. It prints a session key for each of PEOPLE as
JSON, then serves. A fetch may take a minute, so that tests do not depend on the machine's speed.
"""

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
from tests.gateway_site.support.documents import HOST, TIMEOUT
from tests.oauth.support.hostile import ADDRESS, Internet
from tests.sessions_kms.support.stacks import install


def main() -> None:
    port, site, people = map(int, sys.argv[1:])
    internet = Internet()
    internet.name(HOST, ADDRESS)
    internet.servers[ADDRESS, 443] = site
    internet.take_over(pytest.MonkeyPatch())
    metadata_documents.FETCH_TIMEOUT = metadata_documents.WAIT_MAX = TIMEOUT
    install(serving.stack.services)
    call_command("migrate", verbosity=0)
    users = [User.objects.create_user(f"person-{number}") for number in range(people)]
    keys = [serving.sign_in(user) for user in users]
    connections.close_all()  # of this thread, which will run the event loop
    sys.stdout.write(json.dumps(keys) + "\n")
    sys.stdout.flush()
    uvicorn.run(serving.with_control, port=port, log_config=None, **OPTIONS)


if __name__ == "__main__":
    main()
