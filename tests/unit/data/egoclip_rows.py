"""Small narrations and csv files for the tests of EgoClip."""

from pathlib import Path

import numpy as np

from playhead.data.egoclip import EgoClip, EgoClipSettings, build_egoclip
from playhead.data.narrations import VideoEntry
from playhead.text.tagging import Tags
from playhead.types import Narration

HEADING = (
    "clip_idx\tvideo_uid\tvideo_dur\tnarration_source\tnarration_ind\tnarration_time\tclip_start\tclip_end\tclip_text"
    "\ttag_verb\ttag_noun"
)
# The second row has the times of the one row of the published file that its documentation shows.
ROWS = [
    "0\tb\t100.0\tnarration_pass_1\t0\t9.5\t9.0\t10.0\t#C C cuts bread\t[3]\t[1, 0]",
    "7\ta\t500.5\tnarration_pass_1\t0\t3.3445\t2.967651\t3.721266\t#C C picks a bag\t[93]\t[192, 115, 12]",
    "2\ta\t500.5\tnarration_pass_2\t0\t1.0\t-0.25\t2.25\t#C C looks around\t[21]\t[]",
]


class OneTag:
    """Tags every text alike."""

    def tag(self, text: str) -> Tags:
        return Tags(nouns=(1,), verbs=(2,))


def write_rows(path: Path, rows: list[str] = ROWS) -> Path:
    path.write_bytes("\n".join([HEADING, *rows, ""]).encode("utf-8", "surrogateescape"))
    return path


def entries(**durations: float) -> dict[str, VideoEntry]:
    return {video: VideoEntry(video, duration, 30.0, 64, 48, ()) for video, duration in durations.items()}


def build(narrations: list[Narration], settings: EgoClipSettings | None = None, **durations: float) -> EgoClip:
    return build_egoclip(narrations, entries(**durations), None, frozenset(), settings or EgoClipSettings())


def random_egoclip(num_videos: int, per_video: int, seed: int, seconds: float = 300.0) -> EgoClip:
    """Two annotators who narrate on their own; many actions, so that most differ."""
    generator = np.random.default_rng(seed)
    narrations = [
        Narration(
            f"v{video}",
            float(generator.uniform(0, seconds)),
            f"#C C does {verb} to {noun}",
            nouns=(int(noun),),
            verbs=(int(verb),),
            source=f"narration_pass_{1 + k % 2}",
        )
        for video in range(num_videos)
        for k, (verb, noun) in enumerate(generator.integers([6, 9], size=(per_video, 2)))
    ]
    return build(narrations, **{f"v{video}": seconds + 10 for video in range(num_videos)})
