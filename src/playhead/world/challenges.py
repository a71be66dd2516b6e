"""The files of Ego4D's challenges: language queries (NLQ), moments (MQ), and state changes (OSCC and PNR).

Field names follow `nlq_*.json`, `moments_*.json` and `fho_oscc-pnr_*.json` of Ego4D v2; the unannotated test files hold
the questions alone.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from playhead.world.config import SPLITS, WorldConfig, make_uid, random_stream
from playhead.world.layouts import ClipWindow, clips_of, frame_of, head, rounded, write_json
from playhead.world.script import Event, Scene, Script
from playhead.world.vocabulary import verb_named

FILE_SPLITS = {"train": "train", "val": "val", "test": "test_unannotated"}
QUERIES_PER_ANNOTATION = 10
CUT_OFF = 0.3  # seconds by which an action may reach over the border of a state change sample
NOT_APPLICABLE = "[verb_not_applicable]"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question in words about one clip, with the span of its video that answers it."""

    text: str
    template: str
    slot_x: str
    verb_x: str
    start: float
    end: float

    def fields(self, clip: ClipWindow, fps: int) -> dict[str, Any]:
        """Return the question as one of `language_queries`."""
        return {
            "clip_start_sec": rounded(self.start - clip.start),
            "clip_end_sec": rounded(self.end - clip.start),
            "video_start_sec": rounded(self.start),
            "video_end_sec": rounded(self.end),
            "video_start_frame": frame_of(self.start, fps),
            "video_end_frame": frame_of(self.end, fps),
            "template": self.template,
            "query": self.text,
            "slot_x": self.slot_x,
            "verb_x": self.verb_x,
            "raw_tags": [self.template, self.text, self.slot_x, self.verb_x],
        }


def write_queries(folder: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write `nlq_{train,val,test_unannotated}.json`."""
    for split in SPLITS:
        content = head("Natural language queries about generated videos.")
        content["videos"] = [
            {
                "video_uid": script.uid,
                "clips": [_query_clip(script, clip, config) for clip in clips_of(script, config)],
                "split": split,
            }
            for script in scripts
            if script.split == split
        ]
        write_json(folder / f"nlq_{FILE_SPLITS[split]}.json", content)


def _query_clip(script: Script, clip: ClipWindow, config: WorldConfig) -> dict[str, Any]:
    questions = ask_about(script, clip)
    entries = [
        {"query": question.text} if script.split == "test" else question.fields(clip, config.fps)
        for question in questions
    ]
    annotations = [
        {
            "language_queries": entries[first : first + QUERIES_PER_ANNOTATION],
            "annotation_uid": make_uid(clip.uid, "queries", first),
        }
        for first in range(0, len(entries), QUERIES_PER_ANNOTATION)
    ]
    return {**clip.fields(config.fps), "annotations": annotations}


def ask_about(script: Script, clip: ClipWindow) -> list[Question]:
    """Return the questions about a clip that have exactly one answer in it, in the order of their answers."""
    inside = [(scene, event) for scene, event in script.events if clip.start <= event.start and event.end <= clip.end]
    asked = [question for scene, event in inside for question in _questions(scene, event)]
    answers = Counter(question.text for question in asked)
    return [question for question in asked if answers[question.text] == 1]


def _questions(scene: Scene, event: Event) -> list[Question]:
    """Return the questions that an action answers, in the words of Ego4D's templates."""
    item = scene.items[event.item]
    base = {"pick up": "pick up", "put down": "put"}.get(event.verb, event.verb)
    holder = None if event.holder is None else scene.items[event.holder].words

    def about(template: str, text: str, slot: str) -> Question:
        return Question(text=text, template=template, slot_x=slot, verb_x=base, start=event.start, end=event.end)

    if holder is not None:
        word = "put in" if event.verb == "put down" else "take from"
        return [about("Objects: What did I put in X?", f"What did I {word} the {holder}?", holder)]
    if event.verb == "put down":
        return [about("Place: Where did I put X?", f"Where did I put the {item.words}?", item.words)]
    if event.verb == "pick up":
        text = f"Where was the {item.words} before I picked it up?"
        return [about("Objects: Where is object X before / after event Y?", text, item.words)]
    if verb_named(event.verb).pnr is not None and event.verb not in ("cut", "pour"):
        return [about("Objects: State of an object", f"When did I {base} the {item.words}?", item.words)]
    return [
        about("Objects: What X did I Y?", f"What {item.colour} thing did I {base}?", item.colour),
        about("Objects: Where is object X?", f"Where did I {base} the {item.words}?", item.words),
    ]


def write_moments(folder: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write `moments_{train,val,test_unannotated}.json`: two annotators mark every action with its class."""
    for split in SPLITS:
        content = head("Moments of generated videos.")
        content["videos"] = [
            {
                "video_uid": script.uid,
                "split": split,
                "clips": [_moment_clip(script, clip, config) for clip in clips_of(script, config)],
            }
            for script in scripts
            if script.split == split
        ]
        write_json(folder / f"moments_{FILE_SPLITS[split]}.json", content)


def _moment_clip(script: Script, clip: ClipWindow, config: WorldConfig) -> dict[str, Any]:
    fields = clip.fields(config.fps)
    if script.split != "test":
        fields["annotations"] = [_moments_of(script, clip, config, annotator) for annotator in (1, 2)]
    return fields


def _moments_of(script: Script, clip: ClipWindow, config: WorldConfig, annotator: int) -> dict[str, Any]:
    draws = random_stream(script.uid, "moments", clip.number, annotator)
    labels = []
    for _, event in script.events:
        early, late, seen = draws.uniform(-0.15, 0.15), draws.uniform(-0.15, 0.15), draws.random() >= config.missed
        start, end = max(event.start + early, clip.start), min(event.end + late, clip.end)
        if not seen or end - start < 0.5 * (event.end - event.start):
            continue
        labels.append(
            {
                "start_time": rounded(start - clip.start),
                "end_time": rounded(end - clip.start),
                "label": verb_named(event.verb).moment,
                "video_start_time": rounded(start),
                "video_end_time": rounded(end),
                "video_start_frame": frame_of(start, config.fps),
                "video_end_frame": frame_of(end, config.fps),
                "primary": annotator == 1 or bool(draws.random() < 0.9),
            }
        )
    return {"annotator_uid": str(int(draws.integers(10**15, 10**16))), "labels": labels}


def write_state_changes(folder: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write `fho_oscc-pnr_{train,val,test_unannotated}.json`: short windows with exactly one state change, or none.

    Times that begin with `parent_` are on the video, those with `clip_` on the clip.
    """
    for split in SPLITS:
        content = head("State changes in generated videos.")
        content["split"] = split
        content["clips"] = [
            sample for script in scripts if script.split == split for sample in state_change_samples(script, config)
        ]
        write_json(folder / f"fho_oscc-pnr_{FILE_SPLITS[split]}.json", content)


def state_change_samples(script: Script, config: WorldConfig) -> list[dict[str, Any]]:
    """Cut windows out of a video: around every state change that has one to itself, and as many without any.

    The action that changes something lies in its window, and no part of such an action in those without.
    """
    draws, seconds = random_stream(script.uid, "state changes"), config.change_seconds
    changing = [event for _, event in script.events if event.pnr is not None]
    begins, ends, changes = (np.array([getattr(event, name) for event in changing]) for name in ("start", "end", "pnr"))
    samples = []
    for clip in clips_of(script, config):
        starts = np.arange(clip.start, clip.end - seconds + 1e-6, 0.5)
        if len(starts) == 0:
            continue
        after, until = starts[:, None], starts[:, None] + seconds
        alone = ((changes >= after) & (changes < until)).sum(axis=1) == 1
        whole = (begins >= after - CUT_OFF) & (ends <= until + CUT_OFF)
        quiet = starts[~((ends > after) & (begins < until)).any(axis=1)]
        positives = 0
        for place, change in enumerate(changes):
            if len(fitting := starts[alone & whole[:, place]]):
                samples.append(_sample(script, clip, float(draws.choice(fitting)), float(change), config))
                positives += 1
        number = min(len(quiet), max(1, positives))
        chosen = sorted(draws.choice(quiet, number, replace=False)) if number else []
        samples += [_sample(script, clip, float(start), None, config) for start in chosen]
    return samples


def _sample(
    script: Script, clip: ClipWindow, start: float, change: float | None, config: WorldConfig
) -> dict[str, Any]:
    end, fps = start + config.change_seconds, config.fps
    named = f"{make_uid(script.uid, 'change', rounded(start))}-{start:.4f}-{end:.4f}".replace(".", "_")
    parent = {
        "parent_start_sec": rounded(start),
        "parent_end_sec": rounded(end),
        "parent_start_frame": frame_of(start, fps),
        "parent_end_frame": frame_of(end, fps),
    }
    if script.split == "test":
        return {"clip_id": str(clip.number), "unique_id": named, "video_uid": script.uid, **parent}
    return {
        "clip_uid": clip.uid,
        "clip_id": str(clip.number),
        "unique_id": named,
        "video_uid": script.uid,
        "clip_start_sec": rounded(start - clip.start),
        "clip_end_sec": rounded(end - clip.start),
        "clip_start_frame": frame_of(start - clip.start, fps),
        "clip_end_frame": frame_of(end - clip.start, fps),
        "clip_pnr_frame": None if change is None else frame_of(change - clip.start, fps),
        **parent,
        "state_change": change is not None,
        "parent_pnr_frame": None if change is None else frame_of(change, fps),
    }
