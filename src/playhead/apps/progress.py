"""The one style of progress bar: what, how far, how long still."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from playhead.apps.encoding import Progress


def progress_bar(console: Console) -> Bar:
    """Return a bar to be used in a `with`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bar(*columns, TimeRemainingColumn(), console=console)


@contextmanager
def video_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows how far the encoding of videos is."""
    with progress_bar(console) as bar:
        task = bar.add_task("videos", total=None)

        def show(now: Progress) -> None:
            waited = 100 * now.wait_seconds / max(now.seconds, 1e-9)
            text = f"videos ({now.windows:,} windows, waiting for decoders {waited:.0f} %)"
            bar.update(task, completed=now.videos_done, total=now.num_videos, description=text)

        yield show
