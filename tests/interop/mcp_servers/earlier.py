"""A registration from the day before, made by a process with such a clock."""

import sys

from tests.e2e.stack import LocalStack
from tests.interop.mcp_servers.servers import McpServer
from tests.support.processes import run_to_end

SECONDS = 25 * 3600
CODE = """
import dataclasses, sys, time
import django
django.setup()
from oauth.mcp import discovery, registrations
from oauth.mcp.servers import find_server
from sessions_kms.services import services

made = dataclasses.replace(services(), clock=lambda: time.time() - {seconds})
registrations.services = lambda: made
discovered = discovery.discover(find_server(sys.argv[1]))
callback = sys.argv[2] + "/accounts/connect/" + sys.argv[1] + "/callback/"
print(registrations.registration_for(discovered, callback).client_id)
"""


def register_a_day_ago(stack: LocalStack, server: McpServer) -> str:
    """Have the gateway register with a server, and return its client id there."""
    code = CODE.format(seconds=SECONDS)
    environment = stack.environment() | {"DJANGO_SETTINGS_MODULE": "gateway_site.settings"}
    done = run_to_end([sys.executable, "-c", code, server.name, stack.url], environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
