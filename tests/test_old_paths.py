"""Import paths of the release before."""

import importlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import oauth.old_paths
import sessions_kms.face.old_paths
from tests import ROOT
from tests.support.processes import finished

TABLES = {
    "sessions_kms": sessions_kms.face.old_paths.OLD_PATHS,
    "oauth": oauth.old_paths.OLD_PATHS,
}
PATHS = [
    (f"{package}.{old}", f"{package}.{new}")
    for package, table in TABLES.items()
    for old, new in table.items()
]
NAMES = [
    ("sessions_kms.aws", "KMS", "sessions_kms.aws.translation"),
    ("oauth.tokens", "TokenSet", "oauth.provider.token_set"),
]


@pytest.fixture(autouse=True)
def _forgetting() -> Iterator[None]:
    """Leave nothing of an old path behind, so that another test still meets the warning."""
    yield
    for old, _ in PATHS:
        sys.modules.pop(old, None)
        parent, _, name = old.rpartition(".")
        vars(sys.modules[parent]).pop(name, None)
    for room, name, _ in NAMES:
        vars(sys.modules[room]).pop(name, None)


def in_new_process(code: str, *options: str) -> "subprocess.CompletedProcess[str]":
    return finished([sys.executable, *options, "-c", code], {"PATH": ""})


def test_each_old_path_warns_once_and_is_the_module_of_today() -> None:
    for old, new in PATHS:
        with pytest.warns(DeprecationWarning, match="next release") as told:
            module = importlib.import_module(old)
        assert [str(each.message) for each in told] == [
            f"{old} is {new} now. The old path goes with the next release."
        ]
        assert module is sys.modules[new]
        assert module.__name__ == new
        importlib.import_module(old)  # A warning would be an error here.


def test_no_file_stands_at_an_old_path() -> None:
    stems = [ROOT.joinpath(*old.split(".")) for old, _ in PATHS]
    assert [stem for stem in stems if stem.with_suffix(".py").exists() or stem.is_dir()] == []


@pytest.mark.parametrize(("room", "name", "home"), NAMES)
def test_name_of_a_module_that_became_a_room_is_still_there(
    room: str, name: str, home: str
) -> None:
    with pytest.warns(DeprecationWarning, match=f"{room}.{name} is {home}.{name} now") as told:
        exec(f"from {room} import {name}", {})  # noqa: S102 - the statement is what is tried
    assert len(told) == 1
    with pytest.raises(ImportError, match="other"):
        exec(f"from {room} import other", {})  # noqa: S102


def test_warning_is_of_the_line_that_imports() -> None:
    for statement in ("import sessions_kms.merge", "from sessions_kms import merge"):
        done = in_new_process(statement, "-W", "always")
        assert done.returncode == 0
        assert done.stderr.startswith("<string>:1: DeprecationWarning: sessions_kms.merge is ")
        assert done.stderr.count("DeprecationWarning") == 1


def test_old_path_is_looked_up_at_its_import_only() -> None:
    code = """
import sys, sessions_kms, oauth
print([name for name in sys.modules if name.startswith(("sessions_kms.", "oauth."))])
import importlib.util
importlib.util.find_spec("sessions_kms.about")
print("sessions_kms.sealed_items.about" in sys.modules)
"""
    told = in_new_process(code, "-W", "error")
    assert told.stdout.splitlines() == [
        "['sessions_kms.face', 'sessions_kms.face.offering', 'sessions_kms.face.old_paths', "
        "'oauth.old_paths']",
        "False",
    ]


def test_module_under_an_old_path_is_loaded_again_and_unpickled() -> None:
    code = """
import importlib, pickle, sys, sessions_kms
import sessions_kms.record as old, sessions_kms.format.record as new
assert old is new and importlib.reload(old) is new and new.__spec__.name == new.__name__
importlib.reload(sessions_kms)
assert sum(type(each).__name__ == "OldPaths" for each in sys.meta_path) == 1
print(pickle.loads(b"csessions_kms.record\\nSessionRecord\\n.") is new.SessionRecord)
"""
    done = in_new_process(code)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_other_path_is_not_there() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"sessions_kms\.nothing"):
        importlib.import_module("sessions_kms.nothing")
