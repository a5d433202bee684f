"""docs/guides/api-on-aws.md, followed with AWS, the provider and the API on this machine."""

import shutil
from pathlib import Path

import pytest

from tests import ROOT
from tests.guides.balancer import HOME, browse
from tests.guides.gateway_on_aws import bringing_along
from tests.guides.person import TIMEOUT, sign_in
from tests.guides.runner import Reader
from tests.support.processes import free_port

GUIDE = ROOT / "docs/guides/api-on-aws.md"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


def test_browser_calls_the_api_with_the_persons_token(reader: Reader, tmp_path: Path) -> None:
    port = free_port()
    with bringing_along(tmp_path, port) as own, browse(port) as browser:
        reader.own = own
        reader.follow(GUIDE)
        page = sign_in(browser, HOME)
        assert (page.url, page.status_code) == (f"{HOME}/", 200)
        response = browser.get(f"{HOME}/gateway/orders/latest", timeout=TIMEOUT).json()
        assert response["path"] == "/latest"
        assert response["authorization"].startswith("Bearer and ")
