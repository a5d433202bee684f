"""Counts the objects that only the cyclic garbage collector frees, in the process itself."""

import gc
import json
from collections import Counter


def count(value: str) -> str:
    """Start to save the objects that only the collector frees (`on`), or count them (`off`)."""
    gc.collect()
    if value == "on":
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        return value
    found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()
    return json.dumps(found)
