"""EgoClip and EgoMCQ from a folder in Ego4D's layout: the step between the downloaded files and a pretraining run."""

from dataclasses import dataclass
from pathlib import Path

from playhead.data.egoclip import EgoClipSettings, build_egoclip
from playhead.data.egomcq import build_egomcq, write_egomcq
from playhead.data.narrations import read_challenge_videos, read_manifest, read_narrations
from playhead.errors import AnnotationError
from playhead.text.tagging import Tagger, Taxonomy


@dataclass(frozen=True, kw_only=True)
class Ego4DFolder:
    """Where the parts of an Ego4D download lie; the generated world has the same layout."""

    root: Path
    """Folder with `ego4d.json`, `annotations/` and `full_scale/`."""

    @property
    def manifest(self) -> Path:
        """The list of all videos."""
        return self.root / "ego4d.json"

    @property
    def narrations(self) -> Path:
        """Both passes of narrations."""
        return self.root / "annotations" / "narration.json"

    @property
    def videos(self) -> Path:
        """The videos themselves."""
        return self.root / "full_scale"

    @property
    def egoclip(self) -> Path:
        """The training pairs, in the published columns."""
        return self.root / "egoclip.csv"

    @property
    def egomcq(self) -> Path:
        """The development questions, in the published layout."""
        return self.root / "egomcq.json"

    @property
    def egomcq_test(self) -> Path:
        """Questions about videos that only test files name: nothing is chosen by them, so they may be reported."""
        return self.root / "egomcq_test.json"

    def taxonomy(self) -> Taxonomy:
        """Read the noun and verb taxonomies."""
        folder = self.root / "annotations"
        return Taxonomy.read(folder / "narration_noun_taxonomy.csv", folder / "narration_verb_taxonomy.csv")

    def challenge_files(self) -> list[Path]:
        """Return the validation and test files of every challenge that lies there."""
        patterns = ("nlq_*", "moments_*", "fho_*", "vq_*", "av_*")
        files = [path for pattern in patterns for path in (self.root / "annotations").glob(f"{pattern}.json")]
        return sorted(path for path in files if "_val" in path.stem or "_test" in path.stem)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What `build_pairs` made: rows of EgoClip, questions of EgoMCQ, and what was left out and why."""

    egoclip_rows: int
    egomcq_questions: int
    test_questions: int
    dropped: dict[str, int]


def build_pairs(folder: Ego4DFolder, *, num_inter: int, num_intra: int, num_test: int = 0, seed: int = 0) -> Pairs:
    """Write `egoclip.csv` of the videos that no challenge validates or tests on, and `egomcq.json` of those some does.

    With `num_test`, the videos that only test files name are kept out of `egomcq.json`, and `egomcq_test.json` gets so
    many questions of each kind about them.

    Raises:
        AnnotationError: no challenge file lies there (EgoClip would hold test videos), or too few clips for EgoMCQ.
    """
    if not (files := folder.challenge_files()):
        raise AnnotationError(
            "no validation or test file of a challenge (nlq_val.json, ...) lies here, so EgoClip could not leave out "
            "their videos; put them here.",
            path=folder.root / "annotations",
        )
    manifest, tagger = read_manifest(folder.manifest), Tagger(folder.taxonomy())
    held_out = read_challenge_videos([*files, folder.manifest])
    narrations = list(read_narrations(folder.narrations))
    egoclip = build_egoclip(narrations, manifest, tagger, held_out, EgoClipSettings())
    egoclip.write_csv(folder.egoclip)

    validated = read_challenge_videos([path for path in files if "_test" not in path.stem])
    tested = held_out - validated if num_test else frozenset()

    def write_questions(videos: frozenset[str], path: Path, inter: int, intra: int) -> int:
        clips = build_egoclip(narrations, manifest, tagger, frozenset(manifest) - videos, EgoClipSettings())
        questions = build_egomcq(clips, num_inter=inter, num_intra=intra, seed=seed)
        write_egomcq(questions, path)
        return len(questions)

    return Pairs(
        egoclip_rows=len(egoclip),
        egomcq_questions=write_questions(held_out - tested, folder.egomcq, num_inter, num_intra),
        test_questions=write_questions(tested, folder.egomcq_test, num_test, num_test) if num_test else 0,
        dropped=dict(egoclip.dropped),
    )
