"""One declaration for each environment variable, and sets of them that are read by attribute.

`Variables` is a set; a `Family` is the set of variables of one thing that the operator names, such
as a provider. Documentation, checks and errors are derived from the declarations.

django-environ is not used for this: it reads a value that starts with "$" as the name of another
variable, and a misspelt switch as "off" (docs/contributing/libraries.md).
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from django.core.exceptions import ImproperlyConfigured

FILE = "_FILE"  # suffix of a variable with the path of a file that contains a secret

# Variables that Kubernetes sets in each container for the services in its namespace. A service may
# have the name of a provider or an upstream.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(
    r".+_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)"
    r"(?:_(?:PROTO|PORT|ADDR))?)?)"
)

NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")  # of a thing

T = TypeVar("T")
Parse = TypeVar("Parse", bound=Callable[[str], Any])
TAKES_LIST, ESCAPES_COMMAS = "takes_list", "escapes_commas"  # attributes of parsers


class InvalidValue(ValueError):
    """A parser's error; the message continues "<VARIABLE> …", or starts with a colon.

    It never repeats the value, which may be a secret.
    """


class Configuration(dict[str, str]):
    """The variables of this process, and which of them come from a file.

    ``path`` is that of the file, and ``in_file`` are their names.
    """

    def __init__(
        self, values: Mapping[str, str], *, path: str = "", in_file: Iterable[str] = ()
    ) -> None:
        super().__init__(values)
        self.path = path
        self.in_file = frozenset(in_file)

    def locate(self, sentence: str) -> str:
        """Return a sentence that begins with a variable's name, and where that is set."""
        name = re.split(r"[\s:]", sentence, maxsplit=1)[0]
        return f"{sentence} It is set in {self.path}." if name in self.in_file else sentence


def list_parser(parse: Parse) -> Parse:
    """Mark a parser of items between commas: a configuration file may have a list for it."""
    setattr(parse, TAKES_LIST, True)
    return parse


def names_parser(parse: Parse) -> Parse:
    """Mark a parser of items between commas, of which one in an item is written `\\,`."""
    setattr(parse, ESCAPES_COMMAS, True)
    return list_parser(parse)


class Variable(Generic[T]):
    """One variable: on an instance of its `Variables` the attribute is its value.

    Its name is the attribute's in capitals, after `Variables.names_begin`, unless `name` is given.
    `parse` gets the text without surrounding whitespace; for a blank text the value is `default`.
    `shown_default` replaces the default in the documentation. In a `Family`, one that `creates`
    declares the thing itself.
    """

    def __init__(
        self,
        parse: Callable[[str], T],
        default: T,
        help_text: str,
        *,
        name: str = "",
        shown_default: str | None = None,
        required: bool = False,
        secret: bool = False,
        creates: bool = False,
    ) -> None:
        self.name = name
        self.parse = parse
        self.default = default
        self.help_text = help_text
        self.shown_default = shown_default
        self.required = required
        self.secret = secret
        self.creates = creates

    def __set_name__(self, owner: "type[Variables]", attribute: str) -> None:
        self.name = self.name or owner.names_begin + attribute.upper()

    @property
    def takes_list(self) -> bool:
        """Whether the text is a list, with commas between the items."""
        return hasattr(self.parse, TAKES_LIST)

    @property
    def escapes_commas(self) -> bool:
        """Whether a comma in an item is written `\\,`."""
        return hasattr(self.parse, ESCAPES_COMMAS)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: "Variables", owner: type) -> T: ...
    def __get__(self, instance: "Variables | None", owner: type) -> Self | T:
        return self if instance is None else instance.read(self)


class Variables:
    """A set of declarations, read from one environment."""

    names_begin: ClassVar[str] = ""

    def __init__(self, environment: Mapping[str, str], prefix: str = "") -> None:
        self.environment = environment
        self.prefix = prefix

    @classmethod
    def declarations(cls) -> list[Variable[Any]]:
        """Return the declarations, those of base classes last."""
        members = (member for base in cls.__mro__ for member in vars(base).values())
        return [member for member in members if isinstance(member, Variable)]

    def read(self, variable: Variable[T]) -> T:
        """Return the value. Raises ImproperlyConfigured, naming the variable."""
        text = self.get_text(variable)
        if not text:
            return variable.default
        try:
            return variable.parse(text)
        except InvalidValue as invalid:
            raise self.error(variable, str(invalid)) from None

    def get_text(self, variable: Variable[Any]) -> str:
        """Return the text without surrounding whitespace, or "" if the variable is not set."""
        return self.environment.get(self.get_name(variable), "").strip()

    def get_name(self, variable: Variable[Any]) -> str:
        """Return the variable's whole name."""
        return self.prefix + variable.name

    def error(self, variable: Variable[Any], problem: str) -> ImproperlyConfigured:
        """Return an error that begins with the variable's name, and says in which file it is."""
        blank = "" if problem.startswith(":") else " "
        sentence = f"{self.get_name(variable)}{blank}{problem}"
        if isinstance(self.environment, Configuration):
            sentence = self.environment.locate(sentence)
        return ImproperlyConfigured(sentence)

    def reject(self, variables: Iterable[Variable[Any]], problem: str) -> None:
        """Raise ImproperlyConfigured for the first of these variables that is set.

        A fault of its value is reported with the problem.
        """
        for variable in variables:
            if not self.get_text(variable):
                continue
            error = self.error(variable, problem)
            try:
                self.read(variable)
            except ImproperlyConfigured as fault:
                raise ImproperlyConfigured(f"{fault} {error}") from None
            raise error


class Family(Variables):
    """The variables `<KIND>_<NAME>_…` of one thing that the operator names.

    At least one declaration of the class creates the thing. `name` is in lower case.
    """

    kind: ClassVar[str]

    def __init__(self, environment: Mapping[str, str], name: str) -> None:
        super().__init__(environment, f"{self.kind}_{name.upper()}_")
        self.name = name.lower()

    @classmethod
    def suffixes(cls) -> tuple[str, ...]:
        return tuple(variable.name for variable in cls.declarations())

    @classmethod
    def creating_suffixes(cls) -> tuple[str, ...]:
        """Return the suffixes of the variables that create the thing."""
        return tuple(variable.name for variable in cls.declarations() if variable.creates)

    @classmethod
    def split(cls, variable: str) -> Iterator[tuple[str, Variable[Any]]]:
        """Yield each <NAME> that a variable may belong to, with its declaration."""
        if not variable.startswith(f"{cls.kind}_"):
            return
        for declaration in cls.declarations():
            if match := re.fullmatch(rf"{cls.kind}_([A-Z][A-Z0-9_]*)_{declaration.name}", variable):
                yield match[1], declaration

    @classmethod
    def created_name(cls, variable: str) -> str | None:
        """Return the <NAME> of the thing that a variable creates.

        The longest suffix counts: `UPSTREAM_A_READ_MCP` does not create `A_READ`.
        """
        owners = sorted(cls.split(variable), key=lambda owner: len(owner[0]))
        return owners[0][0] if owners and owners[0][1].creates else None

    @classmethod
    def list_mentioned(cls, environment: Mapping[str, str]) -> set[str]:
        """Return the <NAME>s with a variable that creates them, even if it is blank."""
        return {name for variable in environment if (name := cls.created_name(variable))}

    @classmethod
    def list_names(cls, environment: Mapping[str, str]) -> list[str]:
        """Return the <NAME>s with a variable that creates them.

        Raises ImproperlyConfigured for one of their variables that is not declared.
        """
        created = {cls.created_name(name) for name, value in environment.items() if value.strip()}
        names = sorted(name for name in created if name and NAME.fullmatch(name))
        cls._reject_unknown(environment, names)
        return names

    @classmethod
    def _reject_unknown(cls, environment: Mapping[str, str], names: Iterable[str]) -> None:
        """Raise ImproperlyConfigured for an undeclared variable of one of the names.

        A variable may instead belong to another, longer name that is created as well.
        """
        suffixes = cls.suffixes()
        mentioned = cls.list_mentioned(environment)
        known = {f"{cls.kind}_{name}_{suffix}" for name in mentioned for suffix in suffixes}
        prefixes = tuple(f"{cls.kind}_{name}_" for name in names)
        for variable in sorted(environment):
            if (
                variable.startswith(prefixes)
                and variable not in known
                and not SERVICE_LINK.fullmatch(variable)
            ):
                raise ImproperlyConfigured(
                    f"{variable} is not a known variable. Did you mean "
                    f"{find_nearest(variable, known, 0)}? The variables of "
                    f"{cls.kind}_<NAME> end in {', '.join(suffixes)}."
                )


def find_nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return the most similar name, if it is at least that similar (0 to 1)."""
    found = difflib.get_close_matches(name, sorted(known), 1, cutoff)
    return found[0] if found else None


def read_file(path: Path, size_max: int) -> bytes:
    """Return the content of a regular file. Raises ValueError with what is wrong with it."""
    try:
        if not path.is_file():  # a pipe might never end
            raise ValueError("file not found. Create it, or correct the path.")
        with path.open("rb") as file:
            data = file.read(size_max + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}.") from None
    if len(data) > size_max:
        raise ValueError(f"the file has more than {size_max:,} bytes.")
    return data


def read_text_file(path: Path, size_max: int) -> str:
    """Return the text of a regular file. Raises ValueError with what is wrong with it."""
    data = read_file(path, size_max)
    try:
        return data.decode("utf-8")
    except UnicodeError:
        raise ValueError("the file is not UTF-8 text.") from None
