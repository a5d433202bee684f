"""`manage.py docs`: the pages of the documentation of this release, without a network."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sessions_kms.hints import pages
from sessions_kms.management.base import shown, unknown
from sessions_kms.management.suggestions import SuggestingCommand


class Command(SuggestingCommand):
    help = (
        "Print a page of the documentation of this release, or one section of it. Without a page, "
        "list the pages. Works where the settings cannot be loaded."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("page", nargs="?", metavar="PAGE", help="such as settings")
        parser.add_argument(
            "section", nargs="?", metavar="SECTION", help="its anchor, such as pinned-tools"
        )

    def handle(self, **options: Any) -> None:
        titles, name, section = pages.list_pages(), options["page"], options["section"]
        if not titles:
            raise CommandError("This installation has no pages: install the wheel of the release.")
        if name is None:
            width = max(map(len, titles))
            self.stdout.write("\n".join(f"{each:{width}}  {titles[each]}" for each in titles))
            return
        name = name.removesuffix(".md")
        if name not in titles:
            raise unknown(f"There is no page {shown(name)}.", name, titles, cutoff=0.0)
        if section is None:
            self.stdout.write(pages.read_page(name), ending="")
            return
        known = pages.list_sections(name)
        if section not in known:
            text = f"{name} has no section {shown(section)}."
            raise unknown(text, section, known, cutoff=0.0)
        self.stdout.write(pages.read_section(name, section), ending="")
