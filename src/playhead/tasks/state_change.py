"""OSCC and PNR: does an object change its state in an eight-second clip, and when exactly?

A clip takes this road: `StateChangeSamples.read` draws a window (training) or takes all of the clip, chooses 16 frames
and reads them; `collate` stacks; `encode` gives one loss per clip, `loss` their mean; `answer` turns logits into yes or
no and a frame, `score` measures and `submission` gives what the servers want.

Source: Ego4D (Grauman et al., 2022), hands and objects; EgoVLP report, sections 2.3 and 3.1.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from playhead.data.state_change import (
    CropRule,
    FrameRule,
    Keep,
    StateChangeClip,
    draw_window,
    read_state_changes,
    window_frames,
)
from playhead.errors import AnnotationError, DecodeError, RecipeError
from playhead.metrics.key_frame import (
    key_frame_errors,
    mean_key_frame_error,
    official_frames,
    state_change_accuracy,
)
from playhead.models.state_change import Heads, StateChangeOutput
from playhead.tasks.clips import ClipReader
from playhead.types import Loss
from playhead.video.decode import DecoderCache
from playhead.video.sampling import state_change_slot
from playhead.video.transforms import Augment, Preprocess, augment, normalize

FILES = {
    "train": "fho_oscc-pnr_train.json",
    "val": "fho_oscc-pnr_val.json",
    "test": "fho_oscc-pnr_test_unannotated.json",
}
UNKNOWN = -1  # the state of a clip without answer, and the slot of one without a change
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class StateChangeSample:
    """One clip: uint8 frames, where they stand in it (in frames from its start), and the truth."""

    frames: UInt8[Tensor, "T C S S"]
    places: Int64[np.ndarray, " T"]
    state: int
    slot: int
    clip: StateChangeClip


@dataclass(frozen=True, slots=True)
class StateChangeBatch:
    """Clips, row by row. `state` is 1 where something changes, 0 where nothing does; `slot` is the key frame's row.

    Both are -1 where they are not known or there is none. `places` are frame numbers from the start of the clip, and
    `lengths` the clips' numbers of frames.
    """

    video: UInt8[Tensor, "B T C S S"]
    places: Int64[Tensor, "B T"]
    lengths: Int64[Tensor, " B"]
    state: Int64[Tensor, " B"]
    slot: Int64[Tensor, " B"]
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "StateChangeBatch":
        """Return the same batch on `device`; what is only counted with stays where it is."""
        move = {name: getattr(self, name).to(device, non_blocking=True) for name in ("video", "state", "slot")}
        return replace(self, **move)


@dataclass(frozen=True, slots=True)
class StateChangeAnswer:
    """What is said of one clip; None of what was not asked.

    `pnr_frame` counts frames from the start of the clip, as submissions do; `slot` says which of the frames seen it
    was, and is not known of answers read from a file.
    """

    unique_id: str
    state_change: bool | None = None
    pnr_frame: float | None = None
    slot: int | None = None


@dataclass(frozen=True)
class StateChangeSamples:
    """The clips of one split, in file order."""

    clips: tuple[StateChangeClip, ...]
    reader: ClipReader
    frame_rule: FrameRule
    crop: CropRule | None
    augment: Augment | None

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, seed: int) -> StateChangeSample:
        """Return 16 frames of a random window of the clip (with `crop`) or of all of it, in one random view or whole.

        Raises:
            DecodeError: the video is missing, broken or shorter than its annotation says.
        """
        clip, generator = self.clips[index], np.random.default_rng(seed)
        window = (clip.start_frame, clip.end_frame)
        if self.crop is not None:
            window = draw_window(clip, generator, self.crop)
        numbers = _frames_of(clip, window, self.reader.preprocess.num_frames, self.frame_rule)
        frames = self._pixels(clip, [clip.time_of(number) for number in numbers.tolist()])
        if self.augment is None:
            frames = self.reader.preprocess.center_crop(frames)
        else:
            view = int(generator.integers(2**31))
            frames = augment(frames[None], [view], self.augment, self.reader.preprocess.image_size)[0]
        slot = UNKNOWN if clip.pnr_frame is None else state_change_slot(numbers, clip.pnr_frame)
        state = UNKNOWN if clip.state_change is None else int(clip.state_change)
        return StateChangeSample(frames, numbers - clip.start_frame, state, slot, clip)

    def _pixels(self, clip: StateChangeClip, times: list[float]) -> UInt8[Tensor, "T C H W"]:
        path = self.reader.find(clip.video_id)
        source = self.reader.cache.get(path)
        if clip.span.start >= source.info.duration:
            raise DecodeError(
                f"clip {clip.unique_id!r} begins here, but the video ends at {source.info.duration:.2f} s; is it the "
                "annotated video?",
                path=path,
                time=clip.span.start,
            )
        return source.frames_at(times, size=self.reader.preprocess.decode_size, on_short="repeat_last").frames


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """Train and measure models that give a `StateChangeOutput`.

    Scores "oscc/accuracy" in percent of "oscc/clips" clips; "pnr/error" in seconds over the "pnr/clips" clips in which
    something changes, where the frame chosen is the one that was seen; "pnr/error_official" the same as the official
    metric counts it; "pnr/accuracy" in percent how often the chosen frame is the nearest to the change.
    """

    videos: Path
    """Folder of the videos, one `<video_uid>.mp4` each."""
    annotations: Path
    """Folder of `fho_oscc-pnr_{train,val,test_unannotated}.json`."""
    kind: Heads = "oscc"
    """What is asked: whether something changes ("oscc"), when it does ("pnr", clips with a change only), or both."""
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(num_frames=16))
    """Frames per clip, sizes and normalisation."""
    augment: Augment = field(default_factory=Augment)
    """Random crop, flip and colour of the training clips."""
    crop: CropRule | None = "paper"
    """Training windows of 5 to 8 s, anywhere in the clip or where the released code puts them; unset for all of it."""
    frame_rule: FrameRule = "multiples"
    """Frames whose numbers divide by the step, as officially, or the middles of equal parts ("even")."""
    keep: Keep = "all"
    """All clips, or the first thousand of each file, as EgoVLP's released code reads them."""
    key_frame_loss: Literal["softmax", "sigmoid"] = "softmax"
    """Cross-entropy over the frames (EgoVLP, I3D), or binary cross-entropy of each frame (the LSTM baseline)."""
    state_weight: float = 1.0
    """Weight of the loss of "oscc"."""
    key_frame_weight: float = 1.0
    """Weight of the loss of "pnr"; with "both", clips without a change count in its mean as 0."""
    open_videos: int = 8
    """Videos that each worker keeps open between clips; more spare the opening where all of them fit."""

    def __post_init__(self):
        if min(self.state_weight, self.key_frame_weight) < 0:
            raise RecipeError(f"weights must not be negative, got {self.state_weight} and {self.key_frame_weight}.")

    def file_of(self, split: str) -> Path:
        """Return the annotation file of "train", "val" or "test"."""
        if split not in FILES:
            raise RecipeError(f"no split {split!r}; there are {', '.join(FILES)}.")
        return self.annotations / FILES[split]

    def clips(self, split: str) -> tuple[StateChangeClip, ...]:
        """Return the clips that are asked about: of "pnr" those with a change, or all of a file without answers.

        Raises:
            AnnotationError: the file cannot be read, or a clip to learn from or to measure on has no answer.
        """
        path = self.file_of(split)
        clips = tuple(read_state_changes(path, self.keep))
        if split != "test":
            self._require_answers(clips, path)
            if self.kind == "pnr":
                clips = tuple(clip for clip in clips if clip.state_change)
        if not clips:
            raise AnnotationError(f"holds no clip to ask {self.kind!r} about.", path=path)
        return clips

    def samples(self, split: str) -> StateChangeSamples:
        """Return the clips of a split; those of "train" are varied."""
        reader = ClipReader(self.videos, self.preprocess, DecoderCache(capacity=self.open_videos))
        varied = split == "train"
        crop, view = (self.crop, self.augment) if varied else (None, None)
        return StateChangeSamples(self.clips(split), reader, self.frame_rule, crop, view)

    def collate(self, samples: list[StateChangeSample]) -> StateChangeBatch:
        """Stack the clips."""
        return StateChangeBatch(
            video=torch.stack([sample.frames for sample in samples]),
            places=torch.from_numpy(np.stack([sample.places for sample in samples])),
            lengths=torch.tensor([sample.clip.num_frames for sample in samples]),
            state=torch.tensor([sample.state for sample in samples]),
            slot=torch.tensor([sample.slot for sample in samples]),
            names=tuple(sample.clip.unique_id for sample in samples),
        )

    def encode(self, model: nn.Module, batch: StateChangeBatch) -> dict[str, Tensor]:
        """Return one loss per clip and question, and whether the answer is right."""
        output: StateChangeOutput = model(normalize(batch.video, self.preprocess.mean, self.preprocess.std))
        rows: dict[str, Tensor] = {}
        if self.kind != "pnr":
            state = _require(output.state, "state", model)
            rows["state_loss"] = F.cross_entropy(state.float(), batch.state, reduction="none")
            rows["state_right"] = state.argmax(dim=1) == batch.state
        if self.kind != "oscc":
            key_frame = _require(output.key_frame, "key_frame", model)
            rows["changed"] = batch.slot != UNKNOWN
            rows["key_frame_loss"] = self._key_frame_losses(key_frame.float(), batch.slot, rows["changed"])
            rows["key_frame_right"] = key_frame.argmax(dim=1) == batch.slot
        return rows

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the weighted means over the global batch.

        Source: hands-and-objects' I3D baseline for the two together; alone each is EgoVLP's.
        """
        total, parts = torch.zeros((), device=next(iter(rows.values())).device), {}
        if self.kind != "pnr":
            mean = rows["state_loss"].mean()
            total = total + self.state_weight * mean
            parts |= {"state": float(mean.detach()), "state_accuracy": float(rows["state_right"].float().mean())}
        if self.kind != "oscc":
            mean, changed = rows["key_frame_loss"].mean(), rows["changed"].sum()
            total = total + self.key_frame_weight * mean
            right = (rows["key_frame_right"] & rows["changed"]).sum()
            parts |= {"key_frame": float(mean.detach()), "key_frame_accuracy": float(right / changed.clamp(min=1))}
        return Loss(total, parts)

    def answer(self, model: nn.Module, batch: StateChangeBatch) -> list[StateChangeAnswer]:
        """Return what the model says of each clip."""
        output: StateChangeOutput = model(self.preprocess(batch.video))
        answers = [StateChangeAnswer(name) for name in batch.names]
        if self.kind != "pnr":
            told = _require(output.state, "state", model).argmax(dim=1).tolist()
            answers = [replace(answer, state_change=bool(one)) for answer, one in zip(answers, told, strict=True)]
        if self.kind != "oscc":
            slots = _require(output.key_frame, "key_frame", model).argmax(dim=1).cpu()
            frames = batch.places.gather(1, slots[:, None])[:, 0].tolist()
            answers = [
                replace(answer, pnr_frame=float(frame), slot=slot)
                for answer, frame, slot in zip(answers, frames, slots.tolist(), strict=True)
            ]
        return answers

    def score(self, answers: list[StateChangeAnswer], split: str) -> dict[str, float]:
        """Return the metrics over all clips of a split, whatever the order of the answers.

        "pnr/error_official" and "pnr/accuracy" need the slots, which answers read from a file do not have.

        Raises:
            AnnotationError: a clip has no answer, or the split has none to compare with.
        """
        clips, path = self.clips(split), self.file_of(split)
        if split == "test":
            self._require_answers(clips, path)
        by_id = {answer.unique_id: answer for answer in answers}
        if missing := [clip.unique_id for clip in clips if clip.unique_id not in by_id]:
            raise AnnotationError(f"no answer is given to {_some(missing)}.", path=path)
        scores: dict[str, float] = {}
        if self.kind != "pnr":
            told = [_given(by_id[clip.unique_id].state_change, clip, path) for clip in clips]
            true = np.array([clip.state_change is True for clip in clips])
            scores |= {"oscc/accuracy": state_change_accuracy(np.array(told), true), "oscc/clips": len(clips)}
        if self.kind != "oscc":
            changed = [clip for clip in clips if clip.state_change]
            scores |= self._key_frame_scores(changed, [by_id[clip.unique_id] for clip in changed], path)
        return scores

    def submission(self, answers: list[StateChangeAnswer]) -> tuple[dict[str, bool], dict[str, float]]:
        """Return what `data.state_change_answers` writes for OSCC and for PNR; what was not asked is empty."""
        told = {answer.unique_id: answer.state_change for answer in answers if answer.state_change is not None}
        found = {answer.unique_id: answer.pnr_frame for answer in answers if answer.pnr_frame is not None}
        return told, found

    def always_same(self, split: str) -> dict[str, float]:
        """Return the scores of "Always Positive" and "Always Center Frame", Ego4D's baselines without a model."""
        num_frames, answers = self.preprocess.num_frames, []
        for clip in self.clips(split):
            window, slot = (clip.start_frame, clip.end_frame), num_frames // 2
            frame = _frames_of(clip, window, num_frames, self.frame_rule)[slot] - clip.start_frame
            answers.append(StateChangeAnswer(clip.unique_id, True, float(frame), slot))
        return self.score(answers, split)

    def _key_frame_losses(
        self, logits: Float[Tensor, "B T"], slot: Int64[Tensor, " B"], changed: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        target = slot.clamp(min=0)  # a clip without a change has no target; its loss is 0
        if self.key_frame_loss == "softmax":
            losses = F.cross_entropy(logits, target, reduction="none")
        else:
            is_key = F.one_hot(target, logits.shape[1]).to(logits.dtype)
            losses = F.binary_cross_entropy_with_logits(logits, is_key, reduction="none").mean(dim=1)
        return losses * changed

    def _key_frame_scores(
        self, clips: list[StateChangeClip], answers: list[StateChangeAnswer], path: Path
    ) -> dict[str, float]:
        found = [_given(answer.pnr_frame, clip, path) for clip, answer in zip(clips, answers, strict=True)]
        true = np.array([(clip.pnr_frame or 0) - clip.start_frame for clip in clips])
        everywhere = np.ones(len(clips), dtype=bool)
        errors = key_frame_errors(np.array(found), true, np.array([clip.fps for clip in clips]))
        scores = {"pnr/error": mean_key_frame_error(errors, everywhere), "pnr/clips": len(clips)}
        if not clips or any(answer.slot is None for answer in answers):
            return scores
        slots, lengths = np.array([answer.slot for answer in answers]), np.array([clip.num_frames for clip in clips])
        official = official_frames(slots, np.zeros(len(clips)), lengths, self.preprocess.num_frames)
        errors = key_frame_errors(official, true, np.array([clip.official_fps for clip in clips]))
        nearest = [self._true_slot(clip) for clip in clips]
        scores["pnr/error_official"] = mean_key_frame_error(errors, everywhere)
        scores["pnr/accuracy"] = 100.0 * float((slots == nearest).mean())
        return scores

    def _true_slot(self, clip: StateChangeClip) -> int:
        window = (clip.start_frame, clip.end_frame)
        numbers = _frames_of(clip, window, self.preprocess.num_frames, self.frame_rule)
        assert clip.pnr_frame is not None  # `_require_answers` saw to it
        return state_change_slot(numbers, clip.pnr_frame)

    def _require_answers(self, clips: tuple[StateChangeClip, ...], path: Path) -> None:
        if unknown := [clip.unique_id for clip in clips if clip.state_change is None]:
            problem = f"does not say whether anything changes in {_some(unknown)}; is it a file without answers?"
            raise AnnotationError(problem, path=path)
        if self.kind != "oscc":
            changed = [clip for clip in clips if clip.state_change]
            if unknown := [clip.unique_id for clip in changed if clip.pnr_frame is None]:
                raise AnnotationError(f"does not say when the change comes in {_some(unknown)}.", path=path)


def _frames_of(
    clip: StateChangeClip, window: tuple[int, int], num_frames: int, rule: FrameRule
) -> Int64[np.ndarray, " T"]:
    try:
        return window_frames(*window, num_frames, rule)
    except ValueError as error:
        raise AnnotationError(
            f"clip {clip.unique_id!r}, frames {window} at {clip.fps:.1f} per second: {error} frame_rule='even' takes "
            "frames twice where there are too few."
        ) from error


def _require(logits: Tensor | None, name: str, model: nn.Module) -> Tensor:
    if logits is None:
        raise RecipeError(
            f"the task asks for {name!r}, for which this {type(model).__name__} has no head; set model.heads='both', "
            "or to the task's kind."
        )
    return logits


def _given(answer: Any, clip: StateChangeClip, path: Path) -> Any:
    if answer is None:
        raise AnnotationError(f"the answer to clip {clip.unique_id!r} leaves out what is asked.", path=path)
    return answer


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} clips: {', '.join(names[:MOST_NAMES])}{more}"
