"""The log as JSON: its members, its bounds, and nothing else on a line."""

import ast
import json
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_site.edge import access_log, json_log
from gateway_site.edge.json_log import LINE_MAX, JSONFormatter, event_of
from tests import ROOT

HOSTILE = 'a"b\\\r\nc\x00\x1b[31m\u2028\u202e\x85{"level": "INFO"}'
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def record(message: str = "hello", name: str = "oauth.tokens.vault", **more: Any) -> Any:
    values = {"name": name, "levelname": "WARNING", "msg": message, "created": 1_800_000_000.1239}
    return logging.makeLogRecord(values | more)


def format_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JSONFormatter().format(made)
    assert "\n" not in line
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= LINE_MAX
    read: dict[str, Any] = json.loads(line)
    return read


def failure(text: str) -> Any:
    try:
        raise ValueError(text)  # noqa: TRY301 - for its traceback
    except ValueError:
        return sys.exc_info()


def test_line_has_time_level_event_and_message() -> None:
    assert format_json(record()) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "WARNING",
        "event": "token_refresh",
        "logger": "oauth.tokens.vault",
        "message": "hello",
    }


def test_value_cannot_end_its_line_or_add_a_member() -> None:
    read = format_json(record("%s", args=(HOSTILE,)))
    assert read["message"] == HOSTILE
    assert read["level"] == "WARNING"


@pytest.mark.parametrize("letter", ["a", "\n", "ü", "\U0001f511"])
def test_line_has_at_most_8_kb(letter: str) -> None:
    read = format_json(record(letter * 100_000, exc_info=failure(letter * 100_000)))
    assert read["message"] == letter * (len(read["message"]) - 1) + "…"
    assert read["exception"].startswith("…")
    assert read["exception"].endswith(letter)


def test_text_is_cut_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    dump = json_log._dump

    def count(value: Any) -> str:
        sizes.append(len(value))
        return dump(value)

    monkeypatch.setattr(json_log, "_dump", count)
    long = "\x00" + "a" * 5_000_000 + "\x00"  # encoding it blocks other requests for 0.1 s
    JSONFormatter().format(record(long, exc_info=failure(long)))
    assert max(sizes) <= LINE_MAX


def test_traceback_is_one_member() -> None:
    read = format_json(record(exc_info=failure("broken")))
    assert read["exception"].startswith("Traceback (most recent call last):\n")
    assert read["exception"].endswith("\nValueError: broken")


def test_lines_of_a_request_have_what_is_known_of_it() -> None:
    entry = access_log.LogEntry("a1b2", user="7", upstream="people", status=404)
    token = access_log._current.set(entry)
    try:
        other = format_json(record())
        own = format_json(record(name="gateway_site.access"))
    finally:
        access_log._current.reset(token)
    known = {"request_id": "a1b2", "user": "7", "upstream": "people"}
    assert known.items() <= other.items()
    assert not {"client", "status", "duration_ms"} & set(other)
    assert own["status"] == 404
    assert own["duration_ms"] >= 0
    assert own["event"] == "request"


def test_lines_within_a_span_have_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xD)
    span = SimpleNamespace(get_span_context=lambda: context)
    fake = SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)
    read = format_json(record())
    assert read["trace_id"] == f"{0xABC:032x}"
    assert read["span_id"] == f"{0xD:016x}"
    context.is_valid = False
    assert "trace_id" not in format_json(record())


def loggers() -> set[str]:
    """Return the name of each logger of the three packages."""
    found = set()
    for package in ("sessions_kms", "oauth", "gateway_site"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if "getLogger(__name__)" in text:
                parts = file.relative_to(ROOT).with_suffix("").parts
                found.add(".".join(part for part in parts if part != "__init__"))
            found |= set(re.findall(r'getLogger\("([\w.]+)"\)', text))
    return found


def test_every_logger_of_the_packages_has_an_event() -> None:
    names = loggers()
    assert len(names) > 50
    unknown = {name for name in names if event_of(name) == json_log.OTHER}
    assert unknown == {"botocore.parsers", "httpx2"}  # They are filtered only.


def test_page_lists_the_events_and_the_members() -> None:
    section = PAGE.partition("### JSON")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([\w]+)`", section))
    source = (ROOT / "gateway_site/edge/json_log.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    members = {"request_id", "status", "duration_ms", "trace_id", "span_id", "exception"}
    members |= {"time", "level", "event", "logger", "message", "user", "client", "upstream"}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert members <= texts
    assert listed >= set(json_log.EVENTS.values()) | {json_log.OTHER} | members


def test_formatter_takes_what_other_formatters_are_given() -> None:
    """A configuration of uvicorn has `fmt` and `use_colors` for it."""
    assert json.loads(JSONFormatter(fmt="%(message)s", use_colors=None).format(record()))


def test_uncaught_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    kind, error, traceback = failure(HOSTILE)
    json_log._log_uncaught(kind, error, traceback)
    [line] = capsys.readouterr().err.splitlines()
    read = json.loads(line)
    assert read["message"].startswith("The gateway cannot start: ValueError: a")
    assert read["event"] == "server"
    assert Path(__file__).name in read["exception"]
