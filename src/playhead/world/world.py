"""Make a world: all videos of all splits, their annotations in the official layouts, and the truth.

root/
  ego4d.json                       manifest of all videos
  annotations/                     narration.json, narration_*_taxonomy.csv, nlq_*.json, moments_*.json,
                                   fho_oscc-pnr_*.json
  full_scale/{video_uid}.mp4       the videos
  kinetics/{split}.csv             lists of actions, label_map.txt
  captions/{split}.jsonl           pairs of a clip and a caption
  webvid/, cc3m/, howto100m/       a few clips, stills and captions in those layouts; see `third_person`
  world.json                       what really happens, and which combinations `train` never shows
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from playhead.errors import PlayheadError
from playhead.world.author import choose_held_out, write_script
from playhead.world.challenges import write_moments, write_queries, write_state_changes
from playhead.world.config import SPLITS, WorldConfig
from playhead.world.film import read_made_of, write_film
from playhead.world.render import render
from playhead.world.script import Script
from playhead.world.third_person import write_conceptual_captions, write_howto100m, write_webvid
from playhead.world.writers import (
    write_captions,
    write_kinetics,
    write_manifest,
    write_narrations,
    write_taxonomies,
    write_truth,
)

LOOKS_VERSION = 1  # to be raised when the same script would be rendered otherwise, so that no old video is reused
FILM_SETTINGS = ("fps", "size", "camera_motion", "crf", "preset", "gop", "b_frames", "seed")


@dataclass(frozen=True, kw_only=True)
class World:
    """A finished world: where it lies, its settings, and its videos by split."""

    root: Path
    config: WorldConfig
    videos: dict[str, tuple[str, ...]]
    """Video uids of "train", "val" and "test"."""

    def video_path(self, uid: str) -> Path:
        """Return the file of a video."""
        return self.root / "full_scale" / f"{uid}.mp4"


def make_world(
    root: Path,
    config: WorldConfig,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> World:
    """Make a world under `root`, or finish one: a video that is already there and made of the same script is kept.

    `progress` is told after each video how many of how many are done. The result does not depend on `workers`; with 0
    or 1 everything happens in this process.

    Raises:
        PlayheadError: a worker process was killed, for want of memory for example.
    """
    root = Path(root)
    held_out = choose_held_out(config)
    scripts = [write_script(config, split, k, held_out) for split in SPLITS for k in range(config.num_videos(split))]
    (root / "full_scale").mkdir(parents=True, exist_ok=True)
    _make_videos(root / "full_scale", scripts, config, progress or _tell_nobody, workers)
    annotations = root / "annotations"
    write_manifest(root / "ego4d.json", scripts, config)
    write_narrations(annotations / "narration.json", scripts, config)
    write_taxonomies(annotations)
    write_queries(annotations, scripts, config)
    write_moments(annotations, scripts, config)
    write_state_changes(annotations, scripts, config)
    write_kinetics(root / "kinetics", scripts)
    write_captions(root / "captions", scripts)
    write_webvid(root / "webvid", root / "full_scale", scripts, config)
    write_conceptual_captions(root / "cc3m", root / "full_scale", scripts)
    write_howto100m(root / "howto100m", scripts)
    write_truth(root / "world.json", scripts, config, held_out, fingerprint(config))
    videos = {split: tuple(script.uid for script in scripts if script.split == split) for split in SPLITS}
    return World(root=root, config=config, videos=videos)


def fingerprint(config: WorldConfig) -> str:
    """Return a short name of a world: equal settings, equal name."""
    return _digest({"looks": LOOKS_VERSION, **asdict(config)})


def _tell_nobody(done: int, total: int) -> None:
    pass


def _make_videos(
    folder: Path, scripts: list[Script], config: WorldConfig, progress: Callable[[int, int], None], workers: int
) -> None:
    missing = [script for script in scripts if read_made_of(_path(folder, script)) != _made_of(script, config)]
    done = len(scripts) - len(missing)
    progress(done, len(scripts))
    if workers <= 1:
        for number, script in enumerate(missing, start=done + 1):
            _make_video(folder, script, config)
            progress(number, len(scripts))
        return
    # Processes are spawned, not forked: a fork of a process with threads (torch, FFmpeg) may hang.
    with ProcessPoolExecutor(min(workers, max(len(missing), 1)), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_make_video, folder, script, config) for script in missing]
        try:
            for number, job in enumerate(as_completed(jobs), start=done + 1):
                job.result()
                progress(number, len(scripts))
        except BrokenProcessPool as error:
            raise PlayheadError(
                "a process that renders videos was killed, perhaps for want of memory; run again to go on, with "
                "workers=1 if it happens again.",
                path=folder,
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _make_video(folder: Path, script: Script, config: WorldConfig) -> None:
    write_film(_path(folder, script), render(script, config), config, _made_of(script, config))


def _path(folder: Path, script: Script) -> Path:
    return folder / f"{script.uid}.mp4"


def _made_of(script: Script, config: WorldConfig) -> str:
    """Return a digest of all that a video follows from: its script and how it is filmed."""
    settings = {name: getattr(config, name) for name in FILM_SETTINGS}
    return _digest({"looks": LOOKS_VERSION, "script": asdict(script), "film": settings})


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
