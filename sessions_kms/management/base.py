"""Base class of the operator commands: text or JSON output, confirmation, progress."""

import json
import logging
import math
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError

from sessions_kms.doctor.finding import Level
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.management.known_errors import explain
from sessions_kms.management.suggestions import SuggestingCommand, nearest
from sessions_kms.services import services

FAILED = 1
USAGE = 2  # invalid options, or an unknown user, provider or key
INCOMPLETE = 3  # another run has to finish it
WARNINGS = 4  # with --strict
OF_FINDINGS = ("gateway_site", "oauth", "sessions_kms")  # what they log is in the findings
MARKS = {Level.OK: "ok", Level.WARNING: "WARN", Level.FAILING: "FAIL"}
INTERVAL = 0.1  # seconds between two counts on a terminal


class UsageError(CommandError):
    """Options are inconsistent, or name something unknown; nothing was done."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=USAGE)


def unknown(what: str, given: str, known: Iterable[str], *, cutoff: float = 0.6) -> UsageError:
    """Return the error for an unknown name, with the nearest known one."""
    near = nearest(given, known, cutoff=cutoff)
    return UsageError(what + (f" Did you mean {shown(near)}?" if near else ""))


def shown(text: str) -> str:
    """Return untrusted text as one word that cannot deceive a terminal or a reader.

    Letters of other scripts may look like ASCII ones, so such text is also shown escaped.
    """
    if text and all(letter.isprintable() and not letter.isspace() for letter in text):
        return text if text.isascii() else f"{text} {text!a}"
    return ascii(text)


class OperatorCommand(SuggestingCommand):
    """A command with `--json`: one object on stdout, everything else on stderr.

    With --verbosity 0, a command that changes something prints only errors and questions.
    Exit status: 0 done, 1 failed, 2 usage, 3 incomplete, 4 warnings with --strict.
    """

    # Loggers of errors that end the command, which says the same.
    silenced: ClassVar[Sequence[str]] = (
        "oauth.mcp.discovery",
        "oauth.mcp.resource_metadata",
        "oauth.provider.metadata",
        "sessions_kms.aws.circuit",
        "sessions_kms.data_keys.cached_keyring",
    )
    changes = True  # whether the command changes something: offers --dry-run and --no-input

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        if self.changes:
            parser.add_argument(
                "--dry-run", action="store_true", help="print what would be done, without doing it"
            )
            parser.add_argument(
                "--no-input",
                "--noinput",
                action="store_true",
                help="do not ask for confirmation",
            )

    def handle(self, *_args: Any, **options: Any) -> None:
        self.as_json: bool = options["json"]
        self.dry_run: bool = options.get("dry_run", False)
        self.is_quiet: bool = self.changes and not self.dry_run and options["verbosity"] == 0
        self.ask: bool = not options.get("no_input", False) and not self.dry_run
        try:
            with without_log(*self.silenced):
                self.operate(options)
        except CommandError:
            raise
        except KeyboardInterrupt as exc:
            status = INCOMPLETE if self.changes else FAILED
            text = "Interrupted. Run the same command again to continue."
            raise CommandError(text, returncode=status) from exc
        except Exception as exc:
            if (sentence := explain(exc)) is None:
                raise
            raise CommandError(sentence) from exc

    def operate(self, options: dict[str, Any]) -> None:
        """Do the command's work."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Print a line, with --json to stderr."""
        if not self.is_quiet:
            (self.stderr if self.as_json else self.stdout).write(line)

    def conclude(self, result: dict[str, Any], summary: str, *, status: int = 0) -> None:
        """Print the result as JSON or the summary, and exit with a status other than 0."""
        if self.as_json:
            self.stdout.write(json.dumps(result))
        elif not self.is_quiet:
            self.stdout.write(summary)
        if status:
            sys.exit(status)

    def confirm(self, question: str) -> None:
        """Ask for confirmation, and end the command unless the answer is yes.

        It asks on stderr, since stdout may be a pipe and has one object with --json.
        """
        if not self.ask:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                "No terminal to confirm on; pass --no-input (or try --dry-run first)."
            )
        self.stderr.write(f"{question} [y/N] ", style_func=str, ending="")
        self.stderr.flush()
        if self._answer() not in {"y", "yes"}:
            raise CommandError("Nothing was done.")

    @contextmanager
    def progress(self, what: str, *, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Show a count on a terminal; yield a function that increases it."""
        if self.is_quiet or not self.stderr.isatty():
            yield lambda _=1: None
            return
        done, shown_at = 0, -INTERVAL

        def advance(more: int = 1) -> None:
            nonlocal done, shown_at
            done += more
            if (now := monotonic()) >= shown_at + INTERVAL:
                shown_at = now
                self._write_over(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

        try:
            yield advance
        finally:
            self._write_over("")

    @contextmanager
    def resumable(self, how: str) -> Iterator[None]:
        """Add a hint how to continue if the block is interrupted or AWS becomes unavailable."""
        try:
            yield
        except KeyboardInterrupt as exc:
            raise CommandError(f"Interrupted. {how}", returncode=INCOMPLETE) from exc
        except StoreUnavailable as exc:
            raise CommandError(f"{explain(exc)} {how}", returncode=INCOMPLETE) from exc

    def wait_until(self, moment: float, what: str) -> None:
        """Wait until a time in epoch seconds, counting seconds on a terminal."""
        clock, sleep = services().clock, services().sleep
        left = moment - clock()
        if left <= 0:
            return
        self.say(f"{what}: {math.ceil(left):,} seconds.")
        with self.progress(what, total=math.ceil(left)) as advance:
            for _ in range(math.ceil(left)):
                sleep(1)
                advance()

    def _write_over(self, line: str) -> None:
        """Replace a terminal's current line, and leave the cursor at its beginning."""
        self.stderr.write(f"\r\x1b[K{line}\r", style_func=str, ending="")
        self.stderr.flush()

    def _answer(self) -> str:
        try:
            return input().strip().lower()
        except (EOFError, KeyboardInterrupt):
            self.stderr.write("")  # Start a new line.
            return ""


@contextmanager
def without_log(*names: str) -> Iterator[None]:
    """Log nothing below CRITICAL of these loggers, and those below them, in the block."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.CRITICAL)
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def exit_status(level: Level, *, strict: bool) -> int:
    """Return the exit status of a command whose worst finding has this level."""
    if level is Level.FAILING:
        return FAILED
    return WARNINGS if strict and level is Level.WARNING else 0


def session_engine() -> Any:
    """Return the session class of this site."""
    return import_module(settings.SESSION_ENGINE).SessionStore
