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
    dropped: dict[str, int]


def build_pairs(folder: Ego4DFolder, *, num_inter: int, num_intra: int, seed: int = 0) -> Pairs:
    """Write `egoclip.csv` of the videos that no challenge validates or tests on, and `egomcq.json` of those some does.

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

    development = build_egoclip(narrations, manifest, tagger, frozenset(manifest) - held_out, EgoClipSettings())
    questions = build_egomcq(development, num_inter=num_inter, num_intra=num_intra, seed=seed)
    write_egomcq(questions, folder.egomcq)
    return Pairs(egoclip_rows=len(egoclip), egomcq_questions=len(questions), dropped=dict(egoclip.dropped))
