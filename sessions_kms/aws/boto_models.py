"""boto's models of AWS's services, found and read in a third of the time.

A service's name enters, and its model leaves, as from boto's own loader. Knows no client. Imports
botocore.
"""

import gzip
import json
from pathlib import Path
from typing import Any, Final

import botocore.loaders

OPENED: Final = ((".json", open), (".json.gz", gzip.open))


class PlainFiles(botocore.loaders.JSONFileLoader):
    """Files read into plain dicts, which have an order, too; boto makes OrderedDicts of 1.3 MB."""

    def load_file(self, file_path: str) -> Any:
        """Return what a file holds, whose ending is not told; None where there is none."""
        for ending, opened in OPENED:
            path = Path(file_path + ending)
            if path.is_file():
                with opened(path, "rb") as file:
                    return json.load(file)
        return None


class Models(botocore.loaders.Loader):
    """The models in the folders that another loader looks into.

    boto goes through the folders of all 400 services, twice, to tell whether one is among them.
    """

    def __init__(self, like: botocore.loaders.Loader) -> None:
        super().__init__(like.search_paths, PlainFiles(), include_default_search_paths=False)

    def list_available_services(self, type_name: str) -> list[str]:
        """Return what there is in all folders; what has no such model is told when it is read."""
        places = [Path(path) for path in self.search_paths]
        return sorted({each.name for place in places if place.is_dir() for each in place.iterdir()})
