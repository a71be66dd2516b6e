"""A model in the hand: opened by one name, it turns words, pictures and clips into rows of one space.

model = load("bundles/egovlp")
model.encode_video(Path("lid.mp4")) @ model.encode_text(["put the lid on the pot"]).T
"""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from playhead.apps.convert import ConvertSettings, convert_checkpoint
from playhead.apps.encoding import EncodedVideo, device_of, encode_videos
from playhead.apps.features import VideoFeatures
from playhead.apps.place import home
from playhead.apps.request import Wanted
from playhead.apps.windows import WindowSettings
from playhead.errors import DecodeError, WeightsError
from playhead.text.questions import as_narration
from playhead.types import Clip, ClipRef, Span
from playhead.video.decode import open_video
from playhead.video.sampling import uniform_times
from playhead.video.still import read_still
from playhead.weights.bundle import Bundle, load_bundle
from playhead.weights.hub import local

PICTURE_ENDINGS = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"])

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Model:
    """A dual encoder, ready for use; `made_from` is what it was opened by, `head` a network for language queries."""

    bundle: Bundle
    made_from: str
    head: Path | None = None

    @property
    def identity(self) -> str:
        """16 hexadecimal digits: a hash of weights and settings; an index knows its model by it."""
        return self.bundle.identity

    @functools.cached_property
    def device(self) -> torch.device:
        """Where it computes."""
        return device_of(self.bundle.model)

    def wording(self, text: str) -> str:
        """Return a text as the model wants it: models that learnt from narrations want a question turned into one."""
        return as_narration(text) if self.bundle.provenance.get("text_style") == "narration" else text

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Float[ndarray, "B E"]:
        """Return one unit row per text, as it stands; one that is too long for the model is cut at its end.

        Raises:
            ValueError: a single str is given, whose letters would be taken for texts.
        """
        if isinstance(texts, str):
            raise ValueError("encode_text takes a list of texts; write [text].")
        return encode_texts(self.bundle, list(texts))

    @torch.inference_mode()
    def encode_video(self, clips: Wanted | Sequence[Wanted]) -> Float[ndarray, "B E"]:
        """Return one unit row per clip, each seen as a whole, at as many frames as the model takes.

        A clip is the path of a video or picture, a piece of a video (`ClipRef`), or frames. A long video is better
        told by its windows: `encode_windows`.

        Raises:
            DecodeError: a file cannot be decoded.
            ValueError: there are no frames.
        """
        single = isinstance(clips, str | os.PathLike | ClipRef | Clip | Tensor)
        frames = [self._frames(clip) for clip in ((clips,) if single else clips)]  # type: ignore[arg-type]
        rows = [self._encode(one[None])[0] for one in frames]
        width = self.bundle.model.config.shared_dim
        return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)

    def encode_windows(self, path: str | os.PathLike[str], windows: WindowSettings | None = None) -> VideoFeatures:
        """Return one unit row for each window that slides over a video, and what it spans in seconds.

        Raises:
            DecodeError: the video cannot be decoded.
        """
        windows, path = windows or WindowSettings(), os.fspath(path)
        network = self.bundle.model
        encode = network.encode_video if windows.projected else network.video
        (result,) = encode_videos([path], encode, self.bundle.preprocess, windows, self.device)
        if not isinstance(result, EncodedVideo):
            raise DecodeError(result.reason, path=path)
        return VideoFeatures(result.rows, result.spans)

    def _encode(self, frames: UInt8[Tensor, "B T C H W"]) -> Float[ndarray, "B E"]:
        pixels = self.bundle.preprocess(frames.to(self.device))
        return self.bundle.model.encode_video(pixels).float().cpu().numpy()

    def _frames(self, clip: Wanted) -> UInt8[Tensor, "_ C R R"]:
        """Return as many frames of a clip as the model takes, cut to their middle square."""
        preprocess = self.bundle.preprocess
        match clip:
            case Tensor():
                frames = clip
            case Clip():
                frames = clip.frames
            case ClipRef():
                frames = self._read(clip.video_id, clip.span)
            case _:
                path = os.fspath(clip)
                is_picture = Path(path).suffix.lower() in PICTURE_ENDINGS
                frames = read_still(path, preprocess.decode_size)[None] if is_picture else self._read(path, None)
        if len(frames) == 0:
            raise ValueError("a clip without frames cannot be encoded.")
        places = ((torch.arange(preprocess.num_frames) + 0.5) * len(frames) / preprocess.num_frames).long()
        return preprocess.center_crop(frames[places])

    def _read(self, path: str, span: Span | None) -> UInt8[Tensor, "T C H W"]:
        preprocess = self.bundle.preprocess
        with open_video(Path(path).expanduser()) as source:
            end = source.info.duration
            if span is not None and span.start >= end:
                raise DecodeError(
                    f"ends at {end:.2f} s, before the piece asked for begins.", path=path, time=span.start
                )
            whole = Span(0.0, max(end, 1e-3)) if span is None else Span(max(0.0, span.start), min(span.end, end))
            times = uniform_times(whole, preprocess.num_frames)
            return source.frames_at(times, size=preprocess.decode_size, on_short="repeat_last").frames


@torch.inference_mode()
def encode_texts(bundle: Bundle, texts: list[str]) -> Float[ndarray, "B E"]:
    """Return one unit row per text; a text longer than the model can read is cut at its end."""
    longest = bundle.model.config.text.max_positions
    rows = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        tokens = bundle.tokenizer(texts[first : first + _TEXTS_AT_ONCE], max_length=longest)
        rows.append(bundle.model.encode_text(tokens.to(device_of(bundle.model))).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, bundle.model.config.shared_dim), dtype=np.float32)


def load(
    source: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    grounding: str | os.PathLike[str] | None = None,
) -> Model:
    """Open a model by the folder of its bundle, a name on a hub (`hub:OWNER/NAME`), or a published checkpoint.

    A checkpoint is converted once, into this program's own folder (`PLAYHEAD_HOME`); nothing of it is run. `device` is
    a GPU if there is one. `grounding` is the bundle of a network for language queries that learnt on this model's
    features: search can then sharpen its best answers.

    Raises:
        WeightsError: there is no such file, it holds no dual encoder, or cannot be read safely.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    path = local(source).expanduser()
    if not path.exists():
        raise WeightsError("is no bundle: there is no such file or folder.", path=source)
    if path.is_file():
        path = _converted(path)
    bundle = load_bundle(path, device)
    head = None if grounding is None else local(grounding).expanduser()
    if head is not None:
        from playhead.apps.ground import Grounder  # it imports the recipes, which a plain search does not need

        Grounder(head, bundle)
    made_from = os.fspath(source)
    return Model(bundle, made_from if made_from.startswith("hub:") else str(path.resolve()), head)


def _converted(checkpoint: Path) -> Path:
    """Return the bundle of a checkpoint, made if it is not there yet."""
    status = checkpoint.stat()
    stamp = f"{checkpoint.resolve()} {status.st_size} {status.st_mtime_ns}"
    folder = home() / "bundles" / f"{checkpoint.stem}-{hashlib.blake2b(stamp.encode(), digest_size=6).hexdigest()}"
    if not folder.exists():
        convert_checkpoint(checkpoint, folder, ConvertSettings())
    return folder
