"""How well state changes are told (OSCC) and their moments found (PNR): accuracy in percent, error in seconds.

A model chooses one of T frames, its slot. Where that slot lies in the window is read in two ways: officially as
slot / T of the window's length, though the frames seen do not begin at the window's start (`official_frames`); or as
the number of the frame that was seen (`seen_frames`), which is what the model meant. A perfect choice of slots errs by
about 0.26 s in the first way and by 0.12 s in the second.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num

NUM_SLOTS = 16


def state_change_accuracy(told: Bool[np.ndarray, " N"], true: Bool[np.ndarray, " N"]) -> float:
    """Return the percentage of clips of which it is rightly told whether an object changes its state.

    Raises:
        ValueError: the lengths differ, or there is no clip.

    Source: EgoVLP's `oscc_metrics` (percent); hands-and-objects' `state_change_accuracy` is a share of 1.
    """
    if len(told) != len(true) or not len(true):
        raise ValueError(f"{len(told)} answers for {len(true)} clips; as many are needed, and at least one.")
    return 100.0 * float((told == true).mean())


def official_frames(
    slots: Int[np.ndarray, " N"],
    start_frames: Num[np.ndarray, " N"],
    end_frames: Num[np.ndarray, " N"],
    num_slots: int = NUM_SLOTS,
) -> Float[np.ndarray, " N"]:
    """Return the frame that each slot stands for in the official metric: start + slot / num_slots of the length.

    Source: `keyframe_distance` of hands-and-objects, `pnr_metrics` of EgoVLP.
    """
    return start_frames + slots * ((end_frames - start_frames) / num_slots)


def seen_frames(slots: Int[np.ndarray, " N"], frames: Num[np.ndarray, "N T"]) -> Float[np.ndarray, " N"]:
    """Return the number of the frame that was seen in each chosen slot."""
    return np.take_along_axis(frames, slots[:, None], axis=1)[:, 0].astype(np.float64)


def key_frame_errors(
    found_frames: Num[np.ndarray, " N"], pnr_frames: Num[np.ndarray, " N"], fps: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Return the seconds between the frames found and the points of no return.

    The official metric gives `fps` as (frames + 1) / seconds of the window: 30.125 where 30 is meant.
    """
    return np.abs(found_frames - pnr_frames) / fps


def mean_key_frame_error(errors: Float[np.ndarray, " N"], changed: Bool[np.ndarray, " N"]) -> float:
    """Return the mean error of the clips in which something changes; NaN where there is none, as in EgoVLP's code.

    Raises:
        ValueError: an error that counts is NaN.
    """
    counted = errors[changed]
    if np.isnan(counted).any():
        raise ValueError(f"{int(np.isnan(counted).sum())} of {len(counted)} errors are NaN.")
    return float(counted.mean()) if len(counted) else float("nan")


def constant_slot_errors(
    start_frames: Num[np.ndarray, " N"],
    end_frames: Num[np.ndarray, " N"],
    pnr_frames: Num[np.ndarray, " N"],
    fps: Float[np.ndarray, " N"],
    num_slots: int = NUM_SLOTS,
) -> Float[np.ndarray, " T"]:
    """Return, slot by slot, the mean official error of always choosing it, over clips in which something changes.

    Slot `num_slots // 2` is the baseline "Always Center Frame" of Ego4D (Grauman et al., 2022), 1.032 s there.
    """
    starts, ends = start_frames[:, None], end_frames[:, None]
    found = starts + np.arange(num_slots) * ((ends - starts) / num_slots)  # (N, T)
    return (np.abs(found - pnr_frames[:, None]) / fps[:, None]).mean(axis=0)
