"""Work of boto that gives every test the same result, done once for all tests of a process.

Each test has AWS clients of its own, and each of these would do it anew.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import botocore.session
import moto.kms.models
import pytest
from botocore import hooks
from botocore.client import ClientCreator
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.loaders import Loader, create_loader
from moto.kms.utils import generate_private_key


@contextmanager
def shared_work() -> Iterator[None]:
    """Share it until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for share in SHARED:
            share(patch)
        yield


def _data_files(patch: pytest.MonkeyPatch) -> None:
    """Share what botocore reads of its data files, most of what a first client costs."""
    read: defaultdict[str | None, dict[Any, Any]] = defaultdict(dict)

    def loader_of(search_path: str | None = None) -> Loader:
        loader = create_loader(search_path)
        loader._cache = read[search_path]  # type: ignore[attr-defined]  # not in the stubs
        return loader

    patch.setattr(botocore.session, "create_loader", loader_of)


def _classes(patch: pytest.MonkeyPatch) -> None:
    """Have the clients of a service share the class that botocore makes for each of them."""
    creator: Any = ClientCreator
    make = creator._create_client_class
    made: dict[str, type] = {}

    def class_of(self: Any, service_name: str, service_model: Any) -> type:
        if service_name not in made:
            made[service_name] = make(self, service_name, service_model)
        return made[service_name]

    patch.setattr(ClientCreator, "_create_client_class", class_of)


def _event_names(patch: pytest.MonkeyPatch) -> None:
    """Share botocore's computed event names between clients."""
    aliaser: Any = EventAliaser(HierarchicalEmitter())
    name_of = aliaser._alias_event_name  # It caches its results.
    patch.setattr(EventAliaser, "_alias_event_name", lambda _, name: name_of(name))


def _handlers(patch: pytest.MonkeyPatch) -> None:
    """Spare each of botocore's sessions to inspect the signatures of 136 handlers: 2 ms."""
    accepts_kwargs: Any = hooks.accepts_kwargs

    def accepts(handler: Any) -> bool:
        code = getattr(handler, "__code__", None)
        return bool(code.co_flags & inspect.CO_VARKEYWORDS) if code else accepts_kwargs(handler)

    patch.setattr(hooks, "accepts_kwargs", accepts)


def _rsa_key(patch: pytest.MonkeyPatch) -> None:
    """Have moto's KMS keys share the RSA key that each gets, which symmetric keys never use."""
    patch.setattr(moto.kms.models, "generate_private_key", cache(generate_private_key))


SHARED = (_data_files, _classes, _event_names, _handlers, _rsa_key)
