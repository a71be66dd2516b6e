"""The commands for Ego4D's challenges: features for localisation, grounding, submissions, transfer. See `playhead.cli`.

And what several commands print alike: moments, and files that could not be used.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Column, Table

from playhead.apps.clip_features import ClipFeatureSettings, extract_clip_features, extract_text_features
from playhead.apps.convert import ConvertSettings, convert_checkpoint
from playhead.apps.encoding_jobs import Elsewhere
from playhead.apps.features import extract_features
from playhead.apps.ground import Grounder, ground
from playhead.apps.heads import Challenge
from playhead.apps.kinetics710 import merge_lists
from playhead.apps.progress import clock, job_progress, video_progress
from playhead.apps.reconstruct import Reconstruction, ReconstructSettings, reconstruct
from playhead.apps.submit import Places, check_submission, submit
from playhead.apps.transcode import TranscodeSettings, transcode
from playhead.apps.transfer import TransferSettings, transfer
from playhead.apps.windows import WindowSettings
from playhead.errors import RecipeError
from playhead.types import Moment
from playhead.weights.bundle import find_kind, load_bundle
from playhead.weights.hub import fetch, local, parse_name

console = Console()


@dataclass(frozen=True, kw_only=True)
class Kinetics710:
    """Write the lists of Kinetics-710 from the official ones of Kinetics-400, -600 and -700."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the official lists, the oldest set first; `train.csv`, `val.csv` and, if known, `test.csv` each."""
    out: Path
    """Folder to write `train.csv` and `val.csv` to."""

    def run(self) -> None:
        """Write the lists and say what was left out."""
        merged = merge_lists(self.folders, self.out)
        console.print(f"{self.out}: {merged.train:,} training and {merged.val:,} validation videos")
        for reason, count in merged.left_out.items():
            console.print(f"  left out: {count:,} {reason}")


@dataclass(frozen=True, kw_only=True)
class Features:
    """Write the features of videos, window by window, with a manifest of how they were made."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders."""
    out: Path
    """Folder to write."""
    windows: tyro.conf.OmitArgPrefixes[WindowSettings] = field(default_factory=WindowSettings)
    """How the windows lie."""

    def run(self, elsewhere: Elsewhere | None = None) -> None:
        """Write the features and list what failed."""
        bundle = load_bundle(self.bundle)
        with video_progress(console) if elsewhere is None else nullcontext() as show:
            report = extract_features(bundle, self.videos, self.out, self.windows, show, elsewhere)
        console.print(
            f"{len(report.written)} written, {len(report.skipped)} there already, {len(report.failed)} failed"
        )
        list_failures(report.failed)


@dataclass(frozen=True, kw_only=True)
class ClipFeatures:
    """Write the features of every clip that NLQ or MQ files ask about, for the heads that localise."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    annotations: tyro.conf.Positional[tuple[Path, ...]]
    """nlq_*.json, moments_*.json."""
    videos: Path
    """Folder of the videos, one `<video_uid>.mp4` each."""
    out: Path
    """Folder to write."""
    settings: tyro.conf.OmitArgPrefixes[ClipFeatureSettings] = field(default_factory=ClipFeatureSettings)
    """Which frames make a row, and how they are encoded."""

    def run(self, elsewhere: Elsewhere | None = None) -> None:
        """Write the features and list what failed."""
        bundle = load_bundle(self.bundle)
        with video_progress(console) if elsewhere is None else nullcontext() as show:
            report = extract_clip_features(
                bundle, self.annotations, self.videos, self.out, self.settings, show, elsewhere
            )
        counts = f"{len(report.written)} written, {len(report.skipped)} there already, {len(report.failed)} failed"
        console.print(f"{counts}; {report.num_rows:,} rows")
        list_failures(report.failed)


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """Write the features of the words of every query of NLQ files."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    annotations: tyro.conf.Positional[tuple[Path, ...]]
    """nlq_*.json."""
    out: Path
    """Folder to write."""
    wording: Literal["question", "narration"] = "question"
    """Read queries as they stand, or as the narration that would answer them."""

    def run(self) -> None:
        """Write the features and say how many."""
        report = extract_text_features(load_bundle(self.bundle), self.annotations, self.out, wording=self.wording)
        console.print(f"{report.num_texts:,} texts, {report.num_encoded:,} of them new, {report.num_tokens:,} tokens")
        if report.num_full:
            console.print(f"  {report.num_full:,} texts fill all that the model reads; their ends may be cut")


@dataclass(frozen=True, kw_only=True)
class Transcode:
    """Rewrite videos for fast random reading: small, with many key frames, and in chunks if asked for."""

    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders."""
    out: Path
    """Folder to write."""
    settings: tyro.conf.OmitArgPrefixes[TranscodeSettings] = field(default_factory=TranscodeSettings)
    """How they are written."""

    def run(self, elsewhere: Elsewhere | None = None) -> None:
        """Rewrite what is new or changed and list what failed."""
        with job_progress(console) as show:
            run = None if elsewhere is None else elsewhere.run
            report = transcode(self.videos, self.out, self.settings, show, run)
        counts = ("written", "skipped", "failed", "removed")
        console.print(", ".join(f"{len(getattr(report, name))} {name}" for name in counts))
        list_failures(report.failed)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn published weights into a bundle, or into a tower to start from; nothing of the file is run."""

    checkpoint: tyro.conf.Positional[Path]
    """The file (.pth, .safetensors, .npz, ...), or hub:OWNER/NAME:FILE."""
    out: tyro.conf.Positional[Path]
    """Folder to write."""
    report: Path | None = None
    """JSON file to write what became of every tensor to."""
    settings: tyro.conf.OmitArgPrefixes[ConvertSettings] = field(default_factory=ConvertSettings)
    """How the file is read, and what is changed."""

    def run(self) -> None:
        """Write it and tell what became of every tensor."""
        converted = convert_checkpoint(self.checkpoint, self.out, self.settings, self.report)
        for line in converted.lines():
            console.print(line, highlight=False, soft_wrap=True, markup=False)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Bring a bundle, or one file, from a hub into the local cache, and tell where it lies."""

    name: tyro.conf.Positional[str]
    """hub:OWNER/NAME[@REVISION] for a bundle, hub:OWNER/NAME[@REVISION]:FILE for a file."""
    update: bool = False
    """Ask the hub for what is new, even if the cache has it."""

    def run(self) -> None:
        """Load what is missing and print its path."""
        name = parse_name(self.name)
        place = fetch(name) if self.update else local(self.name)
        console.print(str(place), highlight=False, soft_wrap=True, markup=False)
        if name.file is None and find_kind(place) is None:
            command = f"playhead convert {name}:model.safetensors OUT"
            console.print(f"This is no bundle of playhead; `{command}` may make one.", markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Ask one video a question: "where did I put the red cup?"; answers with spans of time."""

    video: tyro.conf.Positional[Path]
    """The video file."""
    question: tyro.conf.Positional[str]
    """What to ask."""
    bundle: Path
    """Folder of a trained NLQ bundle."""
    tower: Path
    """Folder of the dual encoder that its features were made with."""
    top: int = 5
    """Spans to show."""
    json: bool = False
    """Print JSON lines instead of a table."""

    def __post_init__(self):
        if self.top < 1:
            raise ValueError(f"`top` must be at least 1, got {self.top}.")

    def run(self) -> None:
        """Print the spans, best first."""
        moments = ground(Grounder(self.bundle, load_bundle(self.tower)), self.video, self.question, self.top)
        show_moments(moments, self.question, self.json)


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Write a challenge's submission file and check it against the annotation file, or only check one."""

    challenge: tyro.conf.Positional[Challenge]
    """Whose server takes the file."""
    bundle: Path | None = None
    """Folder of the trained bundle that answers."""
    out: Path | None = None
    """File to write."""
    check: Path | None = None
    """A file to check instead of writing one; needs --annotations."""
    split: Literal["val", "test"] = "test"
    """What is answered."""
    annotations: Path | None = None
    """Annotation file of the split (for OSCC and PNR the folder that holds it); as in training by default."""
    features: tuple[Path, ...] | None = None
    """Folders of the clips' features (NLQ, MQ); as in training by default."""
    text: Path | None = None
    """Folder of the queries' text features (NLQ); as in training by default."""
    videos: Path | None = None
    """Folder of the videos (OSCC, PNR); as in training by default."""
    workers: int = 0
    """Processes that read samples."""

    def __post_init__(self):
        if self.check is not None and self.annotations is None:
            raise RecipeError("--check needs --annotations, the file that the submission answers.")
        if self.check is None and (self.bundle is None or self.out is None):
            raise RecipeError("give --bundle and --out to write a submission, or --check FILE to check one.")

    def run(self) -> None:
        """Write or check, and say so."""
        if self.check is not None and self.annotations is not None:
            check_submission(self.challenge, self.check, self.annotations)
            console.print(f"{self.check}: nothing is wrong with it")
        elif self.bundle is not None and self.out is not None:
            places = Places(self.annotations, self.features, self.text, self.videos)
            number = submit(
                self.challenge, self.bundle, self.out, split=self.split, places=places, workers=self.workers
            )
            console.print(f"{self.out}: {number:,} answers, checked against the annotation file")


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Show what a masked autoencoder makes of the hidden part of videos: one picture of each."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle of a masked pretraining."""
    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Video files, or folders of numbered images."""
    out: Path = Path("reconstructions")
    """Folder for the pictures, `<name of the video>.png`."""
    settings: tyro.conf.OmitArgPrefixes[ReconstructSettings] = field(default_factory=ReconstructSettings)
    """Which clip, which mask, and how many frames are shown."""

    def run(self) -> None:
        """Write the pictures and tell the error of each."""

        def tell(path: Path, made: Reconstruction) -> None:
            console.print(f"{path}: mean squared error {made.error:.3f}", highlight=False, soft_wrap=True)

        reconstruct(self.bundle, self.videos, self.out, self.settings, tell)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Compare pretrainings by what they are worth for a challenge on the generated world, in the papers' form."""

    challenge: tyro.conf.Positional[Challenge]
    """What is transferred to."""
    settings: tyro.conf.OmitArgPrefixes[TransferSettings] = field(default_factory=TransferSettings)
    """Towers, seeds and folders."""

    def run(self) -> None:
        """Train what is missing and print the table."""
        console.print(transfer(self.challenge, self.settings), highlight=False, soft_wrap=True)


def show_moments(moments: Sequence[Moment], title: str, as_json: bool) -> None:
    """Print moments, best first, as a table or as JSON lines."""
    if as_json:
        for moment in moments:
            row = {
                "file": moment.video_id,
                "start": moment.span.start,
                "end": moment.span.end,
                "score": moment.score,
            }
            console.print_json(json.dumps(row), indent=None)
        return
    table = Table(Column("file", overflow="fold"), "from", "to", "score", title=title)
    for moment in moments:
        table.add_row(moment.video_id, clock(moment.span.start), clock(moment.span.end), f"{moment.score:.3f}")
    console.print(table)


def list_failures(failed: Sequence[tuple[str, str]]) -> None:
    """Print every file that could not be used, with its reason."""
    for path, reason in failed:
        console.print(
            f"  {path}: {reason}" if str(path) not in reason else f"  {reason}", highlight=False, soft_wrap=True
        )
