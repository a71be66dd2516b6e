"""`playhead extract --ray`: the features of many videos, or the videos transcoded, on the machines of a Ray cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import tyro
from rich.console import Console

from playhead.apps.clip_features import ClipFeatureSettings
from playhead.apps.cluster import ClusterSettings, joined, run_on_cluster
from playhead.apps.commands import ClipFeatures, Features, Transcode
from playhead.apps.encoding_jobs import Elsewhere
from playhead.apps.progress import job_progress
from playhead.apps.transcode import TranscodeSettings
from playhead.apps.windows import WindowSettings
from playhead.errors import RecipeError

console = Console()

WORDS = ("features", "clip-features", "transcode")
"""What can be done on a cluster, as the commands for one machine are called."""

_ONE_MACHINE = {"workers": TranscodeSettings().workers, "stall_seconds": TranscodeSettings().stall_seconds}


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Do features, clip-features or transcode on the machines of a Ray cluster: `playhead extract --ray features ...`.

    Every video is one job; what is there already is skipped, and a video whose worker dies is begun again. All
    machines must see the videos (and for transcode the folder written to) under the same path.
    """

    cluster: tyro.conf.OmitArgPrefixes[ClusterSettings] = field(default_factory=ClusterSettings)
    """Which cluster, and what each video gets of it."""
    work: tyro.conf.OmitArgPrefixes[
        Annotated[Features, tyro.conf.subcommand("features", prefix_name=False)]
        | Annotated[ClipFeatures, tyro.conf.subcommand("clip-features", prefix_name=False)]
        | Annotated[Transcode, tyro.conf.subcommand("transcode", prefix_name=False)]
    ]
    """What is done."""

    def __post_init__(self):
        match self.work:
            case Features(windows=windows) | ClipFeatures(settings=ClipFeatureSettings(windows=windows)):
                _refuse("decoders", windows.decoders, WindowSettings().decoders)
            case Transcode(settings=settings):
                for name, default in _ONE_MACHINE.items():
                    _refuse(name, getattr(settings, name), default)

    def run(self) -> None:
        """Do it, and list what failed."""
        with joined(self.cluster) as told:
            console.print(told, highlight=False)
            run = partial(run_on_cluster, settings=self.cluster)
            if isinstance(self.work, Transcode):
                self.work.run(Elsewhere(run))
                return
            with job_progress(console) as show:
                self.work.run(Elsewhere(run, show))


def _refuse(name: str, given: object, default: object) -> None:
    if given != default:
        raise RecipeError(
            f"--{name.replace('_', '-')} is for the processes of one machine; what a video gets of a cluster stands "
            "before the word: playhead extract --cpus, --gpus, --attempts, --stall-seconds."
        )


def with_address(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, with "auto" where `playhead extract --ray` is given no address."""
    words = list(words)
    if words[:1] != ["extract"] or "--ray" not in words:
        return words
    after = words.index("--ray") + 1
    has_address = after < len(words) and not words[after].startswith("-") and words[after] not in WORDS
    return words if has_address else [*words[:after], "auto", *words[after:]]
