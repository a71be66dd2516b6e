"""EgoClip and EgoMCQ from real narrations: EPIC-KITCHENS-100's validation rows and its full training rows.

    python -m benchmarks.epic_egoclip

reads the annotations below PLAYHEAD_DATA (default: ../shared/data beside the repository) and prints rows, what was left
out and why, the mean width of a clip, and how many questions of each kind were built, with the seconds it took.
"""

import os
import time
from pathlib import Path

import numpy as np

from playhead.data.egoclip import EgoClipSettings, build_egoclip
from playhead.data.egomcq import build_egomcq
from playhead.data.epic import read_epic_narrations, read_epic_videos
from playhead.text.tagging import Tagger, Taxonomy

EPIC = Path(os.environ.get("PLAYHEAD_DATA", Path(__file__).parents[2] / "shared" / "data")) / "annotations" / "epic100"
FILES = {"validation": "EPIC_100_validation.csv", "training": "EPIC_100_uda_source_train.csv"}
QUESTIONS = 1500


def main() -> None:
    if not EPIC.exists():
        print(f"{EPIC} is not there; set PLAYHEAD_DATA. Nothing measured.")
        return
    tagger = Tagger(Taxonomy.from_epic(EPIC / "EPIC_100_verb_classes.csv", EPIC / "EPIC_100_noun_classes.csv"))
    videos = read_epic_videos(EPIC / "EPIC_100_video_info.csv")
    for split, name in FILES.items():
        begin = time.perf_counter()
        narrations = list(read_epic_narrations(EPIC / name))
        settings = EgoClipSettings(min_words=1)  # EPIC's narrations name no subject: "take plate"
        table = build_egoclip(narrations, videos, tagger, frozenset(), settings)
        built = time.perf_counter() - begin
        rows = [table[i] for i in range(len(table))]
        begin = time.perf_counter()
        questions = build_egomcq(table, num_inter=QUESTIONS, num_intra=QUESTIONS, seed=0)
        asked = time.perf_counter() - begin
        tagged = np.mean([bool(row.nouns) and bool(row.verbs) for row in rows])
        print(
            f"{split}: {len(narrations):,} narrations -> {len(rows):,} rows in {built:.2f} s, not {table.dropped}, "
            f"alpha {table.alpha:.2f} s, mean width {np.mean([row.end - row.start for row in rows]):.2f} s, "
            f"{100 * tagged:.1f} % with noun and verb; {len(questions):,} EgoMCQ questions in {asked:.2f} s"
        )


if __name__ == "__main__":
    main()
