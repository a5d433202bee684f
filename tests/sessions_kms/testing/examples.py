"""The examples of docs/testing.md."""

import re

from tests import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")

EXAMPLES = dict(
    re.findall(r"^```python\n# (test_\w+\.py)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)
