"""Hatchling's hooks of both distributions: their packages, README and addresses.

In the tree, `oauth` and `gateway_site` are at its root; in an sdist they are beside this file, as
`packaging/release.toml` is. https://hatch.pypa.io/latest/plugins/build-hook/custom/
"""

import re
import sys
import tomllib
from pathlib import Path
from posixpath import normpath
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

HERE = Path(__file__).resolve().parent
RELEASE = "release.toml"
# A link or picture of Markdown that leads to a file of the repository.
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


class PackagesHook(BuildHookInterface):
    """Compiles catalogs of translations, and adds the gateway's packages and the engine's pages."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the folders. Raises FileNotFoundError without them."""
        sys.path.append(str(HERE))
        from catalogs import compile_catalogs  # noqa: PLC0415 - it is beside this file

        for name in self.config["catalogs"]:
            compile_catalogs(find(name))
        added = {str(find(name)): name for name in self.config.get("packages", ())}
        if self.target_name == "wheel" and "pages" in self.config:
            added |= find_pages(Path(self.root) / "docs", self.config["pages"])
        if added and self.target_name == "sdist" and (release := find(RELEASE)).exists():
            added[str(release)] = RELEASE
        build_data["force_include"] |= added


class AddressesHook(MetadataHookInterface):
    """Sets the README and the addresses of the project.

    While `release.toml` names no repository, metadata and README have no address: links become
    their text, and pictures are left out.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set what an sdist has not set already, in its PKG-INFO."""
        release = load_release()
        repository, site = (str(release.get(name, "")) for name in ("repository", "site"))
        metadata.setdefault("urls", build_urls(repository, site, metadata["version"]))
        if "readme" not in metadata:
            text = (Path(self.root) / self.config["readme"]).read_text(encoding="utf-8")
            folder = self.config.get("folder", str(Path(self.config["readme"]).parent))
            text = rewrite_links(text, folder, repository, metadata["version"])
            metadata["readme"] = {"content-type": "text/markdown", "text": text}


def find(name: str) -> Path:
    """Return where a folder or file is: beside this file, or in a folder above it."""
    places = [HERE, HERE.parent, HERE.parent.parent]
    return next((place / name for place in places if (place / name).exists()), HERE / name)


def find_pages(folder: Path, target: str) -> dict[str, str]:
    """Return where a wheel has the pages of the documentation (`sessions_kms.hints.pages`)."""
    found = [*folder.glob("*.md"), *folder.glob("guides/*.md")]
    return {str(each): f"{target}/{each.relative_to(folder).as_posix()}" for each in sorted(found)}


def load_release() -> dict[str, Any]:
    """Return the fields of `release.toml`, or {} without the file."""
    path = find(RELEASE)
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def build_urls(repository: str, site: str, version: str) -> dict[str, str]:
    """Return the addresses for the metadata; {} if none is known."""
    urls = {"Documentation": site, "Source": repository}
    if repository:
        urls["Changelog"] = f"{repository}/blob/v{version}/CHANGELOG.md"
    return {name: url for name, url in urls.items() if url}


def rewrite_links(text: str, folder: str, repository: str, version: str) -> str:
    """Return Markdown whose links to files are those of the repository at this version."""

    def rewrite(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if not repository:
            return "" if picture else label
        kind = "raw" if picture else "blob"
        path = normpath(f"{folder}/{target}")
        return f"{picture}[{label}]({repository}/{kind}/v{version}/{path})"

    return re.sub(r"\n{3,}", "\n\n", RELATIVE.sub(rewrite, text))
