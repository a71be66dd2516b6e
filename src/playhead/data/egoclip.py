"""EgoClip: narrations become pairs of a short clip and its text, with the nouns and verbs that the text tells.

Source: EgoVLP (Lin et al., 2022), section 2.1 and its supplement. The code that made the published file was never
released; where the paper leaves a choice open, `EgoClipSettings` names it.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from playhead.data.egoclip_csv import SCHEMA, sort_table
from playhead.data.egoclip_table import EgoClip, EgoClipRow, multi_hot
from playhead.data.narrations import VideoEntry
from playhead.text.tagging import Tags, is_unsure
from playhead.types import Narration

__all__ = ["EgoClip", "EgoClipRow", "EgoClipSettings", "NarrationTagger", "build_egoclip", "multi_hot"]

PUBLISHED_ALPHA = 4.9  # seconds; EgoVLP, section 2.1
MARK = re.compile(r"#\s*\w+")  # "#C", "#O", "#unsure"


@runtime_checkable
class NarrationTagger(Protocol):
    """Anything that finds the nouns and verbs of a text, such as `playhead.text.tagging.Tagger`."""

    def tag(self, text: str) -> Tags:
        """Return the ids of the nouns and verbs that `text` tells."""
        ...


@dataclass(frozen=True, kw_only=True)
class EgoClipSettings:
    """What is kept, and how wide the window around a narration is: beta / alpha seconds, the narration in its middle.

    beta is the mean gap between neighbouring narrations, alpha its mean over all videos.
    """

    min_words: int = 3
    """Drop narrations of fewer words; marks (#C) are none, the subject is one: "#C C looks" has two, "take plate" too.
    Narrations without subject (EPIC-KITCHENS) need 1."""
    drop_unsure: bool = True
    """Drop narrations marked #unsure."""
    alpha: float | None = None
    """Seconds; by default the mean of beta over the set that is built. The paper's full set has 4.9."""
    beta_per: Literal["pass", "video"] = "pass"
    """Over which narrations beta is taken: those of one annotator of a video, or of a video, both annotators merged.
    The paper does not say; merged, its 3.85 M clips of 2,927 h of video could be at most 0.6 s long on average, and
    they are 1.0 s."""
    clamp_start: bool = True
    """Begin no window before 0 s; the published file has such, and its loader clamps them."""

    def __post_init__(self):
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"`alpha` must be above 0 s, got {self.alpha}.")
        if self.beta_per not in ("pass", "video"):
            raise ValueError(f"`beta_per` must be 'pass' or 'video', got {self.beta_per!r}.")


def build_egoclip(
    narrations: Iterable[Narration],
    manifest: Mapping[str, VideoEntry],
    tagger: NarrationTagger | None,
    excluded: Collection[str],
    settings: EgoClipSettings,
    *,
    num_nouns: int | None = None,
    num_verbs: int | None = None,
) -> EgoClip:
    """Return the pairs of all narrations that are kept; both annotators' are.

    `tagger` gives nouns and verbs; with None the narrations' own are taken. `num_nouns` and `num_verbs` are the sizes
    of the taxonomy, by default the highest id plus one. `.dropped` of the result counts what was left out, by reason:
    excluded_video, not_in_manifest, after_video_end, duplicate (same annotator, time and text), unsure, too_short.

    beta is taken before the texts are looked at: it is the annotator's pace, and a dropped text was a moment too.
    Where it is undefined (one narration) or zero (all at one time), the window is 1 s wide, as if beta were alpha.

    Raises:
        ValueError: an id of the tagger does not fit `num_nouns` or `num_verbs`.

    Source: EgoVLP, section 2.1: [t - beta / 2 alpha, t + beta / 2 alpha]. The units do not match (alpha is a plain
    divisor); that is the paper's formula, and its ablation's best.
    """
    dropped: Counter[str] = Counter()
    told = _told(narrations, manifest, excluded, dropped)
    betas = _betas([narration for _, narration in told], settings.beta_per)
    alpha = settings.alpha or _mean([beta for beta in betas.values() if beta > 0]) or PUBLISHED_ALPHA
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for place, narration in told:
        if reason := _refusal(narration.text, settings):
            dropped[reason] += 1
            continue
        half = (betas.get(_group(narration, settings.beta_per)) or alpha) / (2 * alpha)
        start, end = narration.time - half, narration.time + half
        tags = Tags(narration.nouns, narration.verbs) if tagger is None else tagger.tag(narration.text)
        values = (
            len(columns["clip_idx"]),
            narration.video_id,
            manifest[narration.video_id].duration,
            narration.source,
            place,
            narration.time,
            max(start, 0.0) if settings.clamp_start else start,
            end,
            narration.text,
            tags.verbs,
            tags.nouns,
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return EgoClip(_table(columns, dict(dropped), alpha, num_nouns, num_verbs))


def _told(
    narrations: Iterable[Narration],
    manifest: Mapping[str, VideoEntry],
    excluded: Collection[str],
    dropped: Counter[str],
) -> list[tuple[int, Narration]]:
    """Return the narrations of the videos that are wanted, each with its place in its annotator's list."""
    places: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, str, float, str]] = set()
    told = []
    for narration in narrations:
        video_id, source = narration.video_id, narration.source
        place = places[video_id, source]
        places[video_id, source] += 1
        key = (video_id, source, narration.time, narration.text)
        if video_id in excluded:
            dropped["excluded_video"] += 1
        elif video_id not in manifest:
            dropped["not_in_manifest"] += 1
        elif narration.time > manifest[video_id].duration:
            dropped["after_video_end"] += 1
        elif key in seen:
            dropped["duplicate"] += 1
        else:
            seen.add(key)
            told.append((place, narration))
    return told


def _betas(narrations: Iterable[Narration], beta_per: str) -> dict[tuple[str, str], float]:
    """Return the mean gap of each group of at least two narrations: (last - first) / (number - 1), in seconds."""
    times: dict[tuple[str, str], list[float]] = {}
    for narration in narrations:
        times.setdefault(_group(narration, beta_per), []).append(narration.time)
    return {group: (max(found) - min(found)) / (len(found) - 1) for group, found in times.items() if len(found) > 1}


def _group(narration: Narration, beta_per: str) -> tuple[str, str]:
    return narration.video_id, narration.source if beta_per == "pass" else ""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _refusal(text: str, settings: EgoClipSettings) -> str | None:
    """Return why a text is dropped, or None."""
    if settings.drop_unsure and is_unsure(text):
        return "unsure"
    return "too_short" if len(MARK.sub(" ", text).split()) < settings.min_words else None


def _table(
    columns: dict[str, list[Any]], dropped: dict[str, int], alpha: float, num_nouns: int | None, num_verbs: int | None
) -> pa.Table:
    """Return the sorted table, its rows numbered in their new order."""
    sizes = {"num_nouns": num_nouns, "num_verbs": num_verbs}
    given = {name: size for name, size in sizes.items() if size is not None}
    for name, column in (("num_nouns", "tag_noun"), ("num_verbs", "tag_verb")):
        highest = max((max(ids) for ids in columns[column] if ids), default=-1)
        if highest >= given.get(name, highest + 1):
            raise ValueError(f"{name} is {given[name]}, but the tagger found id {highest}; give it the same taxonomy.")
    arrays = [pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names]
    table = sort_table(pa.Table.from_arrays(arrays, schema=SCHEMA), dropped, alpha=alpha, **given)
    return table.set_column(0, SCHEMA.field("clip_idx"), pa.array(range(len(table)), pa.int64()))
