"""Follows a guide: types its commands, writes its files, and compares what is printed.

`…` in expected output stands for the rest of a word or line, alone on a line for any lines. `…` in
a command or a file stands for what an earlier command printed: `arn:aws:kms:…` is the latest word
of that form.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.guides.page import Addition, Change, Command, NewFile, Step, read_steps
from tests.guides.terminal import Terminal

VARIES = "…"
INCOMPLETE = re.compile(r"""[^\s"'`=]*…[^\s"'`]*""")


@dataclass
class Reader:
    """Somebody who follows a guide in a folder.

    ``own`` has what the page names and a test has otherwise, such as a port or a host: each is
    replaced in commands, files and expected output.
    """

    folder: Path
    terminal: Terminal
    own: Mapping[str, str] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)

    def follow(self, page: Path) -> None:
        """Do all that a page says. AssertionError has the line whose outcome differs."""
        for step in read_steps(page.read_text(encoding="utf-8")):
            self.take(step, page.name)

    def take(self, step: Step, page: str = "") -> None:
        where = f"{page}:{step.line}"
        match step:
            case Command():
                self._run(step, where)
            case Change():
                self._change(step, where)
            case Addition():
                path = self.folder / step.path
                path.write_text(path.read_text() + "\n" + self._complete(step.text, where))
            case NewFile():
                path = self.folder / step.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._complete(step.text, where))

    def _run(self, step: Command, where: str) -> None:
        command = self._complete(step.text, where)
        status, printed = self.terminal.run(command)
        expected = self._replace(step.expected)
        self.printed.append(printed)
        told = f"{where}\n$ {command}\n{printed}"
        assert status == 0, f"{told}exit status {status}"
        assert is_as_expected(printed, expected), f"{told}--- expected:\n{expected}"

    def _change(self, step: Change, where: str) -> None:
        path = self.folder / step.path
        old, new = self._replace(step.old), self._complete(step.new, where)
        made, count = re.subn(
            f"^{re.escape(old)}", lambda _: new, path.read_text(), flags=re.MULTILINE
        )
        assert count == 1, f"{where}: {count} times in {path}:\n{old}"
        path.write_text(made)

    def _complete(self, text: str, where: str) -> str:
        """Replace words with `…` by what was printed."""
        return INCOMPLETE.sub(lambda word: self._find_printed(word[0], where), self._replace(text))

    def _find_printed(self, word: str, where: str) -> str:
        wanted = re.compile(r"""[^\s"'`,]+""".join(map(re.escape, word.split(VARIES))))
        found = wanted.findall("\n".join(self.printed))
        assert found, f"{where}: no command printed {word}"
        return str(found[-1])

    def _replace(self, text: str) -> str:
        for shown, own in self.own.items():
            text = text.replace(shown, own)
        return text


def is_as_expected(printed: str, expected: str) -> bool:
    """Compare output with what a page shows; spaces at the end of lines do not count."""
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    return _pattern(expected).fullmatch("".join(f"{line}\n" for line in lines)) is not None


def _pattern(expected: str) -> re.Pattern[str]:
    return re.compile("".join(_line_pattern(line.rstrip()) for line in expected.splitlines()))


def _line_pattern(line: str) -> str:
    if line.strip() == VARIES:
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, line.split(VARIES))) + r"\n"
