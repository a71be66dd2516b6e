"""What a masked autoencoder makes of what it does not see: original, masked and reconstructed frames in one picture.

A model trained on normalised targets tells each hidden patch's pattern, not its colour: the mean and deviation of the
true patch are put back into its answer, as in the pictures of VideoMAE's public tool. The picture says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from playhead.apps.lettering import written
from playhead.data.border import temporary_beside
from playhead.data.masking import MaskKind, draw_mask, token_order
from playhead.errors import DecodeError, RecipeError, WeightsError
from playhead.models.videomae import VideoMAE
from playhead.objectives.masked_video import masked_video_losses, pixel_targets, tube_statistics
from playhead.recipes.base import open_task
from playhead.tasks.masked_video import FOLDER_FPS, MaskedVideo
from playhead.types import Clip
from playhead.video.decode import open_video
from playhead.video.transforms import fit_for_test, normalize
from playhead.video.tubes import take_tubes, tube_grid
from playhead.weights.bundle import find_kind

HIDDEN_GREY = 128
SMALLEST_FRAME = 112  # frames of fewer pixels are enlarged by whole numbers up to this
GAP = 4  # white pixels between frames

OWN_COLOURS = "What was not hidden is shown as it is; the hidden patches are the model's answer."
TRUE_COLOURS = (
    "The model was asked for patches of mean 0 and deviation 1: into each of its answers the mean and the deviation of "
    "the true patch were put back, so that colour and contrast of a patch are not its own, only what is drawn in it."
)


@dataclass(frozen=True, kw_only=True)
class ReconstructSettings:
    """Which clip is taken, what of it is hidden, and how much of it is shown."""

    start: float | None = None
    """Where the clip begins, in seconds; the middle of the video by default."""
    stride: int | None = None
    """Frames of the video from one frame of the clip to the next; as in training by default."""
    mask: MaskKind | None = None
    """What kind of mask; as in training by default."""
    mask_ratio: float | None = None
    """Share of the tokens that is hidden; as in training by default."""
    seed: int = 0
    """Where the mask comes from."""
    columns: int = 8
    """Frames of the clip that are shown, evenly over it."""

    def __post_init__(self):
        if self.columns < 1:
            raise RecipeError(f"columns must be at least 1, got {self.columns}.")
        if self.stride is not None and self.stride < 1:
            raise RecipeError(f"stride must be at least 1, got {self.stride}.")


@dataclass(frozen=True)
class Reconstruction:
    """A clip and what the model made of it; `error` is the model's own loss, `hidden` is true where a token was."""

    original: UInt8[Tensor, "T C S S"]
    masked: UInt8[Tensor, "T C S S"]
    reconstructed: UInt8[Tensor, "T C S S"]
    hidden: Bool[np.ndarray, " N"]
    times: Float[Tensor, " T"]
    error: float


def open_masked_autoencoder(path: Path) -> tuple[VideoMAE, MaskedVideo]:
    """Return model and task of the bundle of a masked pretraining.

    Raises:
        WeightsError: the folder is no bundle, or of another model.
    """
    kind = find_kind(path)
    if kind not in (None, "videomae"):
        why = "; a classifier has no decoder any more" if kind == "videomae_classifier" else ""
        raise WeightsError(
            f"holds a {kind!r}; the bundle of a masked pretraining ('videomae') is needed{why}.", path=path
        )
    model, task = open_task(path)
    if not isinstance(model, VideoMAE) or not isinstance(task, MaskedVideo):
        raise WeightsError(f"was saved with the task {type(task).__name__}; MaskedVideo is needed.", path=path)
    return model, task


def reconstruct(
    bundle: Path,
    videos: Sequence[Path],
    out: Path,
    settings: ReconstructSettings,
    tell: Callable[[Path, Reconstruction], None] = lambda path, made: None,
) -> list[Path]:
    """Write one picture per video into the folder `out`, `<name of the video>.png`, and return their paths.

    `tell` is called after each. A picture is complete or absent.

    Raises:
        WeightsError: the bundle is not of a masked pretraining.
        DecodeError: a video is missing, broken, or too short for a clip of the model.
        RecipeError: no videos, two that would write the same picture, or a mask that hides nothing or everything.
    """
    model, task = open_masked_autoencoder(bundle)
    paths = [out / f"{Path(video).stem}.png" for video in videos]
    if not videos:
        raise RecipeError("no video was given to reconstruct.")
    if twice := sorted({path.name for path in paths if paths.count(path) > 1}):
        raise RecipeError(f"two videos would write {twice[0]}; give them one by one, with another `out`.")
    out.mkdir(parents=True, exist_ok=True)
    for video, path in zip(videos, paths, strict=True):
        made = reconstruct_clip(model, task, read_clip(video, task, settings), settings)
        with temporary_beside(path) as temporary:
            temporary.write_bytes(png(picture(made, task, Path(video).name, settings.columns)))
        tell(path, made)
    return paths


def read_clip(path: Path, task: MaskedVideo, settings: ReconstructSettings) -> Clip:
    """Return the frames of one clip of a video.

    Raises:
        DecodeError: the video cannot be read, or the clip does not fit into it.
    """
    num_frames, stride = task.preprocess.num_frames, settings.stride or task.stride_of(str(path))
    with open_video(path, fps=FOLDER_FPS) as source:
        info, needed = source.info, (num_frames - 1) * stride + 1
        if info.num_frames < needed:
            fits = max(0, info.num_frames - 1) // max(1, num_frames - 1)
            remedy = f"set stride to at most {fits}" if fits else "no stride makes it fit"
            raise DecodeError(
                f"has {info.num_frames} frames, but a clip of {num_frames}, {stride} apart, needs {needed}; {remedy}.",
                path=path,
            )
        start = (info.num_frames - needed) // 2 if settings.start is None else round(settings.start * info.fps)
        if not 0 <= start <= info.num_frames - needed:
            raise DecodeError(
                f"a clip of {needed} frames from {settings.start} s does not fit into {info.duration:.2f} s; begin it "
                f"at most at {(info.num_frames - needed) / info.fps:.2f} s.",
                path=path,
            )
        times = (start + stride * np.arange(num_frames) + 0.5) / info.fps
        return source.frames_at(times, size=task.preprocess.decode_size, on_short="repeat_last")


@torch.no_grad()
def reconstruct_clip(model: VideoMAE, task: MaskedVideo, clip: Clip, settings: ReconstructSettings) -> Reconstruction:
    """Hide a part of a clip and put the model's answer in its place.

    Raises:
        RecipeError: the mask hides nothing or everything.
    """
    preprocess, ratio = task.preprocess, settings.mask_ratio if settings.mask_ratio is not None else task.mask_ratio
    square = preprocess.center_crop(clip.frames)[None]
    video = fit_for_test(square.float(), square.shape[-1], preprocess.image_size).round().clamp(0, 255).byte()
    generator = np.random.default_rng(settings.seed)
    try:
        hidden = draw_mask(settings.mask or task.mask, task.grid, ratio, generator)
    except ValueError as error:
        raise RecipeError(f"mask_ratio: {error}") from error
    visible, places = token_order(torch.from_numpy(hidden)[None])
    answer = model(normalize(video, preprocess.mean, preprocess.std), visible, places).float()
    tubes = take_tubes(tube_grid(video, task.tubelet, task.patch_size).movedim(4, -1), places)
    targets = pixel_targets(tubes, normalized=task.normalize_targets)
    return Reconstruction(
        original=video[0],
        masked=put_tubes(video, places, torch.full_like(tubes, HIDDEN_GREY), task)[0],
        reconstructed=put_tubes(video, places, to_pixels(answer, tubes, task.normalize_targets), task)[0],
        hidden=hidden,
        times=clip.times,
        error=float(masked_video_losses(answer, targets)),
    )


def to_pixels(
    answer: Float[Tensor, "B M P"], truth: UInt8[Tensor, "B M P"], normalized: bool
) -> UInt8[Tensor, "B M P"]:
    """Return a model's answer as pixels; if it was normalised, with the true tubes' means and deviations put back."""
    pixels = answer * 255
    if normalized:
        mean, deviation = tube_statistics(truth)
        pixels = (answer.unflatten(-1, (-1, 3)) * deviation + mean).flatten(2)
    return pixels.round().clamp(0, 255).to(torch.uint8)


def put_tubes(
    video: UInt8[Tensor, "B T C H W"], places: Int64[Tensor, "B M"], tubes: UInt8[Tensor, "B M P"], task: MaskedVideo
) -> UInt8[Tensor, "B T C H W"]:
    """Return the clips with these tubes in the place of their own."""
    changed = video.clone()
    grid = tube_grid(changed, task.tubelet, task.patch_size).movedim(4, -1)  # a view into `changed`
    _, rows, columns = task.grid
    clips = torch.arange(len(video))[:, None]
    at = (clips, places // (rows * columns), places // columns % rows, places % columns)
    grid[at] = tubes.unflatten(-1, grid.shape[4:])
    return changed


def picture(made: Reconstruction, task: MaskedVideo, name: str, columns: int = 8) -> UInt8[Tensor, "3 H W"]:
    """Return the three rows of frames with a caption."""
    num_frames = len(made.original)
    shown = sorted({int((column + 0.5) * num_frames / columns) for column in range(columns)})
    side = made.original.shape[-1]
    zoom = max(1, -(-SMALLEST_FRAME // side))
    width = len(shown) * (side * zoom + GAP) + GAP
    share = 100 * float(made.hidden.mean())
    rows = (
        ("original", made.original),
        (f"masked: {share:.0f} % of the tokens are hidden", made.masked),
        ("reconstructed", made.reconstructed),
    )
    parts = []
    for title, frames in rows:
        parts += [_text(title, width), _strip(frames[shown], zoom)]
    seconds = ", ".join(f"{float(made.times[frame]):.2f}" for frame in shown)
    caption = f"{name} at {seconds} s. {OWN_COLOURS}"
    if task.normalize_targets:
        caption += f" {TRUE_COLOURS}"
    caption += f" Mean squared error of the hidden patches: {made.error:.3f}."
    return torch.cat([*parts, _text(caption, width)], dim=1)


def _strip(frames: UInt8[Tensor, "T C S S"], zoom: int) -> UInt8[Tensor, "C H W"]:
    large = frames.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
    padded = torch.nn.functional.pad(large, (GAP, 0, 0, GAP), value=255)
    return torch.nn.functional.pad(torch.cat(list(padded), dim=2), (0, GAP), value=255)


def _text(text: str, width: int) -> UInt8[Tensor, "3 H W"]:
    return torch.nn.functional.pad(written(text, width - 2 * GAP), (GAP, GAP, GAP, GAP), value=255)


def png(image: UInt8[Tensor, "3 H W"]) -> bytes:
    """Return an RGB picture as a PNG file."""
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height = image.shape[2], image.shape[1]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
