"""A process without a free file descriptor does not blame the provider."""

import json

import pytest

from tests import ROOT
from tests.support.processes import output_of

CODE = """
import json, logging, os, resource, sys
sys.path.insert(0, %r)
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
lines = []
class Handler(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("oauth").addHandler(Handler())
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
found = []
def attempt(url):
    try:
        http.get(url)
    except ProviderUnavailable as error:
        found.append([type(error).__name__, error.code])
attempt("https://127.0.0.1/")  # loads everything; such an address is rejected
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
for url in ("https://1.1.1.1/", "https://provider.example/"):
    attempt(url)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([found[1:], lines[1:]]))
"""


@pytest.mark.slow
def test_request_without_a_descriptor_is_not_the_provider_s_fault() -> None:
    """Adversary: descriptors run out."""
    found, lines = json.loads(output_of(CODE % str(ROOT)))
    assert found == [["ProviderBusy", "busy"]] * 2
    assert lines == [
        f"Request to {host} not sent: no file descriptor was left."
        for host in ("1.1.1.1", "provider.example")
    ]
