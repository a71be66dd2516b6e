"""Playhead puts the cursor of a video at the moment you ask for.

    import playhead

    model = playhead.load("bundles/egovlp")
    index = playhead.index("~/Videos", model)
    for moment in index.search("put the lid on the pot", top=5):
        print(moment.file, moment.span, moment.score)

Importing this costs nothing: what a name stands for is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playhead.apps.collection import Collection as Collection
    from playhead.apps.collection import index as index
    from playhead.apps.collection import open_index as open_index
    from playhead.apps.model import Model as Model
    from playhead.apps.model import load as load
    from playhead.apps.request import Where as Where
    from playhead.errors import PlayheadError as PlayheadError
    from playhead.types import ClipRef as ClipRef
    from playhead.types import Span as Span

__version__ = "0.1.0"

_HOMES = {
    "load": "playhead.apps.model",
    "Model": "playhead.apps.model",
    "index": "playhead.apps.collection",
    "open_index": "playhead.apps.collection",
    "Collection": "playhead.apps.collection",
    "Where": "playhead.apps.request",
    "ClipRef": "playhead.types",
    "Span": "playhead.types",
    "PlayheadError": "playhead.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"playhead has no {name!r}; it has {', '.join(sorted(_HOMES))}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
