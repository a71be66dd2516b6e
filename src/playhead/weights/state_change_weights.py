"""A pretrained video tower into `StateChangeNet`: all but the heads, which the pretraining does not have."""

import os

from playhead.models.frozen import Frozen
from playhead.models.state_change import StateChangeNet
from playhead.weights.adapt import ConversionReport, Inflation, convert
from playhead.weights.bundle import load_bundle
from playhead.weights.keymaps import VIDEO_TOWER
from playhead.weights.official import fill_video_tower


def initialise_from_bundle(
    model: StateChangeNet, path: str | os.PathLike[str], *, inflation: Inflation = "zeros"
) -> ConversionReport:
    """Start the video tower from a bundle of a pretrained dual encoder; its text tower and projections are left.

    Pretraining sees fewer frames than the 16 here: `inflation` says how the new places in time begin.

    Raises:
        WeightsError: the folder is no bundle of a dual encoder, or its video tower has other sizes.

    Source: EgoVLP's fine-tuning loads its checkpoint with `load_temporal_fix='zeros'` and replaces `vid_proj`.
    """
    return initialise_from_frozen(model, load_bundle(path).model, inflation=inflation, path=path)


def initialise_from_frozen(
    model: StateChangeNet,
    pretrained: Frozen,
    *,
    inflation: Inflation = "zeros",
    path: str | os.PathLike[str] | None = None,
) -> ConversionReport:
    """Start the video tower from a dual encoder at hand, as `official.load_egovlp` reads it; `path` is for messages.

    Raises:
        WeightsError: the video towers have other sizes.
    """
    expected = model.video.state_dict()
    state, report = convert(pretrained.video.state_dict(), VIDEO_TOWER, expected, inflation=inflation, path=path)
    model.video.load_state_dict(state, strict=True)
    return report


def initialise_from_vit(
    model: StateChangeNet, path: str | os.PathLike[str], *, resize: bool = False
) -> ConversionReport:
    """Start the video tower as `official.fill_video_tower` does, without any pretraining with texts.

    Raises:
        WeightsError: the file cannot be read, or does not fit the tower.
    """
    return fill_video_tower(model.video, path, resize=resize)
