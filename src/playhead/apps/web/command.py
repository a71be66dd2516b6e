"""The command `playhead serve`. See `playhead.cli`; the server itself is imported only when it runs."""

import os
import webbrowser
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from playhead.apps.collection import Collection
from playhead.apps.index import VideoIndex
from playhead.apps.model import load
from playhead.apps.web.settings import WebSettings
from playhead.errors import SearchError

console = Console()

TOKEN = "PLAYHEAD_TOKEN"
"""Environment variable of the secret; an option would be seen by everybody who lists the processes."""


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Show an index in the browser: search, jump to the moment, see how the index stands; and a JSON API."""

    index: tyro.conf.Positional[str]
    """Folder or address of the index."""
    bundle: str | None = None
    """The model that made the index; by default from where it was then."""
    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own needs a token in the environment: PLAYHEAD_TOKEN."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    names: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A name that the server is called by besides localhost, such as that of a proxy; may be given several times."""
    narrations: Path | None = None
    """Narrations in Ego4D's layout, to be shown beside the videos they tell of."""
    grounding: Path | None = None
    """Bundle of a network for language queries, made on this model's features, for the API's `ground`."""
    watch: float | None = None
    """Look for new, changed, moved and deleted files every so many seconds."""
    read_only: bool = False
    """Refuse to add, update and forget folders from the browser."""
    open: bool = False
    """Open the browser."""

    def __post_init__(self):
        if self.watch is not None and not self.watch > 0:
            raise ValueError(f"`watch` must be above zero, got {self.watch}.")

    def run(self) -> None:
        """Serve until interrupted."""
        try:
            from playhead.apps.web.server import serve
        except ModuleNotFoundError as error:
            problem = f"the server needs {error.name}, which is not installed. Install it: pip install 'playhead[app]'."
            raise SearchError(problem) from error
        settings = WebSettings(
            host=self.host,
            port=self.port,
            token=os.environ.get(TOKEN) or None,
            names=self.names,
            read_only=self.read_only,
        )
        named = self.bundle or VideoIndex.open(self.index).settings.made_with
        if not named:
            raise SearchError("the index does not say where its model lies. Name it: --bundle.", path=self.index)
        model = load(named, grounding=self.grounding)
        collection = Collection.open(self.index, model, narrations=self.narrations)
        serve(collection, settings, watch_every=self.watch, ready=self._tell)

    def _tell(self, address: str) -> None:
        console.print(f"{address} (press Ctrl-C to stop)", highlight=False, soft_wrap=True)
        if self.open:
            webbrowser.open(address)
