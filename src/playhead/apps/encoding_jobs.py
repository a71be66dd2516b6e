"""Videos encoded somewhere else: one job per video file, in whatever process or on whatever machine `run` chooses.

The model travels with the work and not with the jobs; what comes back is rows. Nothing is written there.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from playhead.apps.encoding import (
    EncodedPiece,
    FailedPiece,
    Progress,
    Reading,
    device_of,
    encode_pieces,
    encoder_of,
)
from playhead.apps.processes import Done, Failed
from playhead.apps.tally import JobProgress, Tally
from playhead.apps.windows import WindowSettings
from playhead.models.frozen import Frozen
from playhead.video.transforms import Preprocess

Beat = Callable[[float], None]
"""Takes the share of a job that is done, from 0 to 1."""

Run = Callable[
    [Callable[[Any, Beat], Any], Sequence[Any], Callable[[Any, float], None]],
    Generator[Done[Any, Any] | Failed[Any], None, None],
]
"""Does the jobs somewhere: `run(work, jobs, progress)` yields each once."""

Results = tuple[EncodedPiece | FailedPiece, ...]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where jobs are done if not here: `run` does them, `progress` hears how far they are."""

    run: Run
    progress: Callable[[JobProgress], None] | None = None


def encode_elsewhere(
    readings: Sequence[Reading],
    sizes: Mapping[str, int],
    model: Frozen,
    preprocess: Preprocess,
    settings: WindowSettings,
    elsewhere: Elsewhere,
) -> Generator[EncodedPiece | FailedPiece, None, None]:
    """Yield every piece of every reading once, video after video as they are done; the largest begin first.

    `sizes` are the bytes of the videos, by path. A video that cannot be decoded, and one at which its process dies or
    stalls, fails and stops nothing; any other error of a job is raised here.

    Raises:
        ValueError: the model is on a GPU, which the other processes may not have.
    """
    if (device := device_of(model)).type != "cpu":
        raise ValueError(f"the model is on {device}; load it on the CPU, each process moves its own copy.")
    tally = Tally({reading.path: sizes[reading.path] for reading in readings}, elsewhere.progress)
    work = partial(encode_reading, model, preprocess, settings)
    ordered = sorted(readings, key=lambda reading: -sizes[reading.path])
    with closing(elsewhere.run(work, ordered, partial(_hear, tally))) as outcomes:
        for outcome in outcomes:
            results = _results_of(outcome)
            yield from results
            tally.count(outcome.job.path, failed=any(isinstance(result, FailedPiece) for result in results))


def encode_reading(
    model: Frozen, preprocess: Preprocess, settings: WindowSettings, reading: Reading, beat: Beat
) -> Results:
    """Return all pieces of one video file; the model is moved to the GPU, if this process sees one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encode = encoder_of(model.to(device), settings)

    def tell(now: Progress) -> None:
        beat(min(1.0, (now.videos_done + sum(now.shares.values())) / now.num_videos))

    return tuple(encode_pieces([reading], encode, preprocess, settings, device, tell))


def _hear(tally: Tally, reading: Reading, share: float) -> None:
    tally.hear(reading.path, share)


def _results_of(outcome: Done[Reading, Results] | Failed[Reading]) -> Results:
    if isinstance(outcome, Done):
        return outcome.result
    if outcome.error is not None:
        raise outcome.error
    return tuple(FailedPiece(piece, outcome.reason) for piece in outcome.job.pieces)
