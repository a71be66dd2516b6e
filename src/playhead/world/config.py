"""The settings of a generated world, and the random streams that follow from them."""

import hashlib
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What world to make. The same settings give the same annotation files and the same frames."""

    seed: int = 0
    """Chooses everything that is random."""
    train_videos: int = 80
    """Videos to learn from."""
    val_videos: int = 10
    """Videos to measure on."""
    test_videos: int = 6
    """Videos whose answers are not published, as in the challenges; the truth lies in `world.json`."""
    seconds: float = 100.0
    """Length of each video."""
    fps: int = 15
    """Frames per second."""
    size: tuple[int, int] = (96, 128)
    """Height and width in pixels; both even."""
    scene_seconds: float = 30.0
    """About how long the wearer stays in one room."""
    action_seconds: tuple[float, float] = (1.6, 2.2)
    """Shortest and longest action."""
    gap_seconds: tuple[float, float] = (0.9, 1.4)
    """Shortest and longest pause between two actions; the hands come and go in it."""
    objects_per_scene: int = 8
    """Things in a room that something is done with."""
    num_distractors: int = 4
    """Smaller things in a room that nothing is ever done with."""
    camera_motion: float = 1.0
    """Sway, drift and zoom of the head; 0 holds it still, 2 is a hasty person."""
    occlusion: float = 0.15
    """Share of the actions during which something in the foreground hides a part of the view."""
    time_jitter: float = 0.25
    """How far a narration's time may lie from the middle of its action, in seconds."""
    missed: float = 0.1
    """Share of the actions that an annotator does not tell."""
    held_out: float = 0.08
    """Share of the noun-verb and of the noun-colour combinations that occur only outside `train`."""
    clip_seconds: float = 60.0
    """Length of the clips that queries and moments are asked about."""
    change_seconds: float = 6.0
    """Length of the windows in which something changes or not; two actions, as the 8 s of Ego4D hold of its slower
    ones."""
    crf: int = 23
    """H.264 quality; lower is better and larger."""
    preset: str = "veryfast"
    """x264's trade of speed against size."""
    gop: int = 30
    """Frames from one key frame to the next."""
    b_frames: int = 0
    """Consecutive B-frames; more than 0 makes the order of decoding differ from that of display."""

    def __post_init__(self):
        counts = (self.train_videos, self.val_videos, self.test_videos)
        if min(counts) < 0 or sum(counts) == 0:
            raise ValueError(f"a world needs at least one video and no negative count, got {counts}.")
        height, width = self.size
        if height < 48 or width < 48 or height % 2 or width % 2:
            raise ValueError(f"`size` needs an even height and width of at least 48 px, got {self.size}.")
        for name in ("action_seconds", "gap_seconds"):
            low, high = getattr(self, name)
            if not 0.9 <= low <= high:
                raise ValueError(
                    f"`{name}` needs 0.9 <= shortest <= longest (a hand comes and goes), got {low}, {high}."
                )
        if self.seconds < (shortest := self.action_seconds[1] + 2 * self.gap_seconds[1]):
            raise ValueError(f"`seconds` must leave room for one action ({shortest:.1f} s), got {self.seconds}.")
        if self.fps < 1 or self.gop < 1 or self.b_frames < 0 or not 0 <= self.crf <= 51:
            raise ValueError("`fps` and `gop` must be at least 1, `b_frames` at least 0, and `crf` within 0..51.")
        if self.objects_per_scene < 3 or self.num_distractors < 0:
            raise ValueError("a room needs at least 3 objects, and no negative number of distractors.")
        self._check_shares()

    def _check_shares(self) -> None:
        for name in ("occlusion", "missed", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a share in [0, 1), got {getattr(self, name)}.")
        if not 0 <= self.time_jitter <= self.action_seconds[0] / 2:
            raise ValueError(f"`time_jitter` must keep narrations inside their actions, got {self.time_jitter}.")
        if self.camera_motion < 0 or self.scene_seconds <= 0 or self.clip_seconds < 10:
            raise ValueError("`camera_motion` must not be negative, rooms need time, and clips at least 10 s.")
        if not self.action_seconds[1] <= self.change_seconds <= self.clip_seconds:
            raise ValueError(f"`change_seconds` must hold an action and fit a clip, got {self.change_seconds}.")

    def num_videos(self, split: str) -> int:
        """Return how many videos a split has."""
        return {"train": self.train_videos, "val": self.val_videos, "test": self.test_videos}[split]


def random_stream(*key: int | float | str) -> np.random.Generator:
    """Return the generator that belongs to a key; equal keys give equal draws on every machine and in every process."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(key)[:16], "little")))


def make_uid(*key: int | float | str) -> str:
    """Return a name in the form of a version 4 UUID, which Ego4D uses for everything; equal keys give equal names."""
    text = _digest(key)[:16].hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) % 4]}{text[17:20]}-{text[20:]}"


def _digest(key: tuple[int | float | str, ...]) -> bytes:
    return hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
