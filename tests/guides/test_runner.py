"""The guides' runner fails where a page says something that does not happen."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.guides.page import Addition, Change, Command, NewFile, read_steps
from tests.guides.runner import Reader, is_as_expected
from tests.guides.terminal import open_terminal
from tests.support.cases import each_case
from tests.support.waiting import wait_until

PAGE = """# A page

```console
$ name=Ada
$ echo "Hello $name" &&
> echo again
Hello Ada
…

$ true
```

1. Write this:

   ```python
   # site/settings.py
   A = 1
   ```

```python
# site/settings.py, at the end
B = 2
```

```diff
+++ site/settings.py
-B = 2
+B = 3
```

```python
# A comment, and nothing to write.
```
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with open_terminal(tmp_path, {"PATH": os.environ["PATH"]}) as terminal:
        yield Reader(tmp_path, terminal)


def follow(reader: Reader, text: str) -> None:
    page = reader.folder / "page.md"
    page.write_text(text)
    reader.follow(page)


def console(*lines: str) -> str:
    return "\n".join(["```console", *lines, "```", ""])


def test_steps_are_read_from_the_blocks_of_a_page() -> None:
    assert read_steps(PAGE) == [
        Command(4, "name=Ada", ""),
        Command(5, 'echo "Hello $name" &&\necho again', "Hello Ada\n…"),
        Command(10, "true", ""),
        NewFile(16, "site/settings.py", "A = 1\n"),
        Addition(21, "site/settings.py", "B = 2\n"),
        Change(26, "site/settings.py", "B = 2\n", "B = 3\n"),
    ]


def test_page_is_followed(reader: Reader) -> None:
    follow(reader, PAGE)
    assert (reader.folder / "site/settings.py").read_text() == "A = 1\n\nB = 3\n"
    assert reader.printed == ["", "Hello Ada\nagain\n", ""]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo 2", "1"),
        ("echo 1", ""),
        ("true", "1"),
        ("echo 1; echo 2", "1"),
        ("echo 1; echo 3", "1\n…\n2"),
        ("echo 1; false", "1"),
        ("if", ""),
    ],
)
def test_page_fails_where_something_else_happens(
    reader: Reader, command: str, expected: str
) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:2|the shell ended"):
        follow(reader, console(f"$ {command}", expected))


@pytest.mark.parametrize("change", ["-B\n+C", " A\n B\n-B\n+C", "-A\n+C"])
def test_page_fails_where_lines_to_replace_are_missing_or_ambiguous(
    reader: Reader, change: str
) -> None:
    (reader.folder / "x.py").write_text("A\nA\n")
    with pytest.raises(AssertionError, match=r"[02] times in .*x\.py"):
        follow(reader, f"```diff\n+++ x.py\n{change}\n```\n")


def test_varying_part_of_a_command_is_what_was_printed(reader: Reader) -> None:
    made = console("$ echo Key: arn:1:key/a, arn:2:key/b.", "Key: arn:1:key/…")
    follow(reader, made + "```python\n# x.py\nKEY = 'arn:…:key/…'\n```\n")
    assert (reader.folder / "x.py").read_text() == "KEY = 'arn:2:key/b.'\n"
    with pytest.raises(AssertionError, match="no command printed host-…"):
        follow(reader, console("$ ping host-…"))


def test_own_port_takes_the_place_of_the_one_on_the_page(reader: Reader) -> None:
    reader.own = {"127.0.0.1:8000": "127.0.0.1:1234"}
    follow(reader, console("$ echo http://127.0.0.1:8000/", "http://127.0.0.1:8000/"))
    assert reader.printed == ["http://127.0.0.1:1234/\n"]


def test_what_a_guide_started_ends_with_it(tmp_path: Path) -> None:
    with open_terminal(tmp_path, {"PATH": os.environ["PATH"]}) as terminal:
        status, printed = terminal.run("sleep 1000 & echo $!")
        assert status == 0
    wait_until(lambda: not is_running(int(printed)), "the job has ended")


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@each_case(
    ("printed", "expected"),
    [
        ("", ""),
        ("", "…"),
        ("a\nb\nc\n", "…"),
        ("a\nb\nc\n", "a\n…\nc"),
        ("a\nc\n", "a\n…\nc"),
        ("\n a (b)  \n", "a (b)"),
        ("took 2.1 s\n", "took … s"),
    ],
)
def test_output_is_as_expected(printed: str, expected: str) -> None:
    assert is_as_expected(printed, expected)
