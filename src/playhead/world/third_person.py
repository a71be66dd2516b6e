"""The sources of the papers' third-person rows, from what the world's films show, in the published layouts.

webvid/results_2M_train.csv, videos/{page_dir}/{videoid}.mp4     short clips, each told in one caption
cc3m/Train_GCC-training.tsv, training/{crc32 of the URL}         stills, JPEG and PNG, without a suffix
howto100m/caption.json, HowTo100M_v1.csv                         captions with times of the films in full_scale/

Only a few clips and stills are made, of the first films of `train`. A clip is cut out between two key frames, as it is.
"""

import json
import os
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from playhead.video.decode import open_video
from playhead.world.config import WorldConfig
from playhead.world.film import EXACT
from playhead.world.layouts import rounded, write_csv, write_text
from playhead.world.narrator import plain_caption
from playhead.world.script import Script

MOST_CLIPS = MOST_STILLS = 48
CLIPS_PER_PAGE = 50  # of a page_dir
FIRST_VIDEO_ID = 1001
JPEG_QUALITY = "3"  # 2 is the best that the encoder has, 31 the worst


def write_webvid(folder: Path, films: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write clips of about two groups of pictures each, and `results_2M_train.csv`."""
    rows = []
    for script in _of_train(scripts):
        for packets in _pieces(films / f"{script.uid}.mp4", 2 * config.gop):
            start, end = _time(packets[0]), _time(packets[0]) + len(packets) / config.fps
            told = [plain_caption(scene, event) for scene, event in script.events if start <= event.start < end]
            if not told or len(rows) == MOST_CLIPS:
                continue
            number = len(rows) // CLIPS_PER_PAGE * CLIPS_PER_PAGE
            videoid, page_dir = FIRST_VIDEO_ID + len(rows), f"{number + 1:06d}_{number + CLIPS_PER_PAGE:06d}"
            _write_piece(folder / "videos" / page_dir / f"{videoid}.mp4", packets)
            url = f"https://video.example/{page_dir}/{videoid}.mp4"
            rows.append((videoid, url, f"PT00H00M{len(packets) // config.fps:02d}S", page_dir, ", then ".join(told)))
    write_csv(folder / "results_2M_train.csv", ("videoid", "contentUrl", "duration", "page_dir", "name"), rows)


def write_conceptual_captions(folder: Path, films: Path, scripts: list[Script]) -> None:
    """Write the frames in the middle of actions as pictures, and `Train_GCC-training.tsv`."""
    lines: list[str] = []
    for script in _of_train(scripts):
        events = script.events[: MOST_STILLS - len(lines)]
        if not events:
            continue
        with open_video(films / f"{script.uid}.mp4") as film:
            frames = film.frames_at([(event.start + event.end) / 2 for _, event in events]).frames.numpy()
        for (scene, event), frame in zip(events, frames, strict=True):
            url = f"https://image.example/{script.uid}/{len(lines):06d}.{'jpg' if len(lines) % 3 else 'png'}"
            _write_still(folder / "training" / str(zlib.crc32(url.encode())), frame, is_png=url.endswith("png"))
            lines.append(f"{plain_caption(scene, event)}\t{url}\n")
    write_text(folder / "Train_GCC-training.tsv", "".join(lines))


def write_howto100m(folder: Path, scripts: list[Script]) -> None:
    """Write `caption.json` and `HowTo100M_v1.csv` of the films of `train`."""
    captions: dict[str, Any] = {}
    for script in _of_train(scripts):
        told = [(event, plain_caption(scene, event).removeprefix("a person ")) for scene, event in script.events]
        captions[script.uid] = {
            "start": [rounded(event.start) for event, _ in told],
            "end": [rounded(event.end) for event, _ in told],
            "text": [text for _, text in told],
        }
    write_text(folder / "caption.json", json.dumps(captions))
    rows = [(uid, "Home and Garden", "Housekeeping", rank, 1) for rank, uid in enumerate(captions, start=1)]
    heading = ("video_id", "category_1", "category_2", "rank", "task_id")
    write_csv(folder / "HowTo100M_v1.csv", heading, rows)


def _of_train(scripts: list[Script]) -> list[Script]:
    return [script for script in scripts if script.split == "train"]


def _pieces(film: Path, shortest: int) -> Iterator[list[av.Packet]]:
    """Yield a film cut at key frames, `shortest` frames or a few more at a time; it has only closed groups of them."""
    piece: list[av.Packet] = []
    with av.open(film) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.dts is None:
                continue
            if packet.is_keyframe and len(piece) >= shortest:
                yield piece
                piece = []
            piece.append(packet)
        yield piece


def _time(packet: av.Packet) -> float:
    assert packet.pts is not None and packet.time_base is not None  # the film's writer set them
    return float(packet.pts * packet.time_base)


def _write_piece(path: Path, packets: list[av.Packet]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half_done = path.with_name(f".{path.name}.part")
    begin = packets[0].pts
    assert begin is not None
    with av.open(half_done, "w", format="mp4") as piece:
        stream = piece.add_stream_from_template(packets[0].stream)
        for packet in packets:
            assert packet.pts is not None and packet.dts is not None
            packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, stream
            piece.mux(packet)
    os.replace(half_done, path)


def _write_still(path: Path, frame: UInt8[np.ndarray, "C H W"], *, is_png: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(1, 2, 0)), format="rgb24")
    pixels = "rgb24" if is_png else "yuvj420p"
    encoder = av.CodecContext.create("png" if is_png else "mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, pixels
    encoder.time_base = Fraction(1, 1)
    if not is_png:
        encoder.options = {"qmin": JPEG_QUALITY, "qmax": JPEG_QUALITY, "threads": "1"}
        picture = VideoReformatter().reformat(picture, format=pixels, interpolation=EXACT, threads=1)
    picture.pts = 0
    half_done = path.with_name(f".{path.name}.part")
    half_done.write_bytes(b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None))))
    os.replace(half_done, path)
