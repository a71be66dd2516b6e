"""How far the jobs of a run are, by the bytes of the videos that they read, and how long they will still take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a run is: the `share` of the bytes to be read, from 0 to 1, and the `seconds` that it took.

    `failed` counts among `videos_done`; it leaves out what failed before the first job.
    """

    videos_done: int
    num_videos: int
    failed: int
    share: float
    seconds: float

    @property
    def eta_seconds(self) -> float | None:
        """Seconds still needed, if bytes are read as fast as so far; None before there is anything to go by."""
        return self.seconds / self.share * (1 - self.share) if self.share > 0 else None


class Tally:
    """Adds up how far the jobs are; `sizes` are the bytes of each one's video, by name of the job."""

    def __init__(self, sizes: Mapping[str, int], progress: Callable[[JobProgress], None] | None):
        self._sizes, self._progress = sizes, progress
        self._total = max(1, sum(sizes.values()))
        self._shares: dict[str, float] = {}
        self._done = self._failed = 0
        self._began = time.monotonic()

    def hear(self, name: str, share: float):
        """Take in how far one job is."""
        self._shares[name] = share
        if self._progress is None:
            return
        read = sum(self._sizes[one] * done for one, done in self._shares.items())
        self._progress(
            JobProgress(
                videos_done=self._done,
                num_videos=len(self._sizes),
                failed=self._failed,
                share=min(1.0, read / self._total),
                seconds=time.monotonic() - self._began,
            )
        )

    def count(self, name: str, *, failed: bool):
        """Take in that a job is over."""
        self._done += 1
        self._failed += failed
        self.hear(name, 1.0)
