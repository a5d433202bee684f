"""Errors of a command line: suggests the nearest known name for a misspelled one."""

import difflib
import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

OPTION = re.compile(r"--[a-z][a-z-]+")  # in a parser's help
CHOICE = re.compile(r"one of the arguments (.+) is required")  # a message of argparse
USAGE = 2  # status
COMPARED_MAX = 10_000  # names


def nearest(given: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the most similar known name, of the first ones, or None."""
    near = difflib.get_close_matches(given, list(islice(known, COMPARED_MAX)), 1, cutoff)
    return near[0] if near else None


class SuggestingCommand(BaseCommand):
    """A command whose parser suggests the nearest option for one that it does not know."""

    subparsers: Sequence[ArgumentParser] = ()  # a command sets them in `add_arguments`

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parsers = [parser, *self.subparsers]
        for each in parsers:
            # Django does not let a command name the parser's class.
            each.error = _error_method(each, parsers)  # type: ignore[assignment]
        return parser


def _error_method(parser: ArgumentParser, parsers: Sequence[ArgumentParser]) -> Callable[..., None]:
    """Return what replaces `error` of a parser: it adds a suggestion, or says what to choose."""
    fail = parser.error

    def error(message: str) -> None:
        if choice := CHOICE.fullmatch(message):
            options = ", ".join(choice[1].split())
            message = f"Choose one of {options}: `{parser.prog} --help` explains them."
            if getattr(parser, "called_from_command_line", True):
                parser.exit(USAGE, f"{message}\n")  # without the usage, which says no more
        fail(message + _suggest_option(message, parsers))

    return error


def _suggest_option(message: str, parsers: Iterable[ArgumentParser]) -> str:
    """Return what to add to a message of argparse about an option that it does not know."""
    start, _, unknown_ones = message.partition(": ")
    if start != "unrecognized arguments":
        return ""
    known = dict.fromkeys(OPTION.findall("".join(each.format_help() for each in parsers)))
    near = nearest(unknown_ones.split()[0].partition("=")[0], known)
    return f". Did you mean {near}?" if near else ""
