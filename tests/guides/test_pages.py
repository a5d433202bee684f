"""Guides are short, and each is followed by a test: here, or with servers that are not ours."""

from pathlib import Path

from tests import ROOT
from tests.guides.page import Command, read_steps
from tests.support.cases import each_case

GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
START = ("django", "api-on-aws", "mcp-server", "browser-app")  # a page for each kind of reader
MOST_WORDS = 900
MOST_COMMANDS = 20


@each_case("guide", GUIDES, ids=lambda guide: guide.stem)
def test_guide_is_short_and_followed_by_a_test(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    commands = [step for step in read_steps(text) if isinstance(step, Command)]
    assert len(text.split()) <= (800 if guide.stem in START else MOST_WORDS)
    assert len(commands) <= MOST_COMMANDS
    name = f"test_{guide.stem.replace('-', '_')}.py"
    tests = [folder / name for folder in (ROOT / "tests/guides", ROOT / "tests/interop")]
    [test] = [each for each in tests if each.exists()]
    assert guide.name in test.read_text(encoding="utf-8")
