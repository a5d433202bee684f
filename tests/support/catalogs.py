"""The programs that make the catalogs of translations: they are beside the distributions."""

import importlib.util
from pathlib import Path
from types import ModuleType

from tests import ROOT

PACKAGES = ("gateway_site", "oauth", "sessions_kms")


def load_compiler() -> ModuleType:
    """Return the module that compiles catalogs."""
    return load_script(ROOT / "packaging/gateway/catalogs.py")


def load_extractor() -> ModuleType:
    """Return the module that extracts the texts."""
    return load_script(ROOT / "packaging/messages.py")


def compile_all() -> None:
    """Compile the catalogs of a checkout, if Babel is installed."""
    if importlib.util.find_spec("babel"):
        for package in PACKAGES:
            load_compiler().compile_catalogs(ROOT / package)


def load_script(path: Path) -> ModuleType:
    """Return the module in a file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
