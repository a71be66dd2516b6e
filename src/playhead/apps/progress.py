"""The one style of progress bar: what, how far, how long still."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from playhead.apps.encoding import Progress
from playhead.apps.index import IndexProgress, IndexReport
from playhead.apps.tally import JobProgress


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


@contextmanager
def job_progress(console: Console) -> Iterator[Callable[[JobProgress], None]]:
    """Give a function that shows how far jobs are that each read a video."""
    with progress_bar(console) as bar:
        task = bar.add_task("videos", total=None)

        def show(now: JobProgress) -> None:
            left = "" if now.eta_seconds is None else f", {clock(now.eta_seconds)} left"
            told = f"videos ({100 * now.share:.0f} % of the bytes{left})"
            bar.update(task, completed=now.videos_done, total=now.num_videos, description=told)

        yield show


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss.t, hours only where there are some."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


@contextmanager
def index_progress(console: Console) -> Iterator[IndexReport]:
    """Give a function that shows how far an update is."""
    with progress_bar(console) as bar:
        task = bar.add_task("videos", total=None)

        def show(now: IndexProgress) -> None:
            left = "" if now.eta_seconds is None else f", {clock(now.eta_seconds)} left"
            told = f"{100 * now.share:.0f} % of the bytes{left}, {now.windows:,} windows"
            told += f", waiting for decoders {100 * now.wait_share:.0f} %"
            bar.update(task, completed=now.videos_done, total=now.num_videos, description=f"videos ({told})")

        yield show
