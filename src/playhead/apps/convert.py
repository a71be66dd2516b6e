"""Published weights into bundles and towers of ours, with a report of what became of every tensor."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from playhead.data.border import write_whole
from playhead.errors import WeightsError
from playhead.video.transforms import Preprocess
from playhead.weights.adapt import ConversionReport
from playhead.weights.bundle import save_bundle, save_tower
from playhead.weights.hub import PREFIX
from playhead.weights.layouts import ForeignFile, LayoutName, read_foreign
from playhead.weights.official import Sizes, load_dual_encoder, load_tower_weights

TOKENIZER = "bert-base-uncased"


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """How a file is read, and what of it is to be other in the result."""

    layout: LayoutName | None = None
    """How the file names its tensors; recognised by the names unless given."""
    sizes: tyro.conf.OmitArgPrefixes[Sizes] = field(default_factory=Sizes)
    """Sizes that no tensor shows, or that are to be changed."""
    text_style: Literal["narration", "caption"] | None = None
    """The kind of text a dual encoder learnt from: questions are turned into narrations for "narration". By default
    as in the published file of the layout."""


@dataclass(frozen=True)
class Converted:
    """What a conversion made, and of what."""

    source: str
    """The file, as asked for."""
    out: Path
    """The folder written."""
    layout: str
    """How the file names its tensors."""
    kind: str
    """What was written: "frozen", "video_tower" or "text_tower"."""
    identity: str
    """Of what was written."""
    report: ConversionReport
    """What became of each tensor."""

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it, one entry per tensor."""
        report = self.report
        theirs = {ours: name for name, ours in report.renamed}
        entries: dict[str, list[dict[str, Any]]] = {
            "renamed": [{"from": a, "to": b, "shape": list(report.shapes[a])} for a, b in report.renamed],
            "dropped": [
                {"name": name, "shape": list(report.shapes[name]), "why": report.reasons[name]}
                for name in report.dropped
            ],
            "resized": [
                {"name": name, "from_shape": list(report.shapes[theirs[name]]), "to_shape": list(report.wanted[name])}
                for name in report.resized
            ],
            "missing": [{"name": name, "shape": list(report.wanted[name])} for name in report.fresh],
        }
        counts = {"in_file": len(report.shapes), **{name: len(found) for name, found in entries.items()}}
        about = {"source": self.source, "layout": self.layout, "out": str(self.out), "kind": self.kind}
        return {**about, "identity": self.identity, "counts": counts, **entries}

    def lines(self) -> Iterator[str]:
        """Tell all of it in lines; what is alike in every layer is told once, with how often."""
        plain = self.to_plain()
        counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in plain["counts"].items())
        yield f"{self.source}: layout {self.layout}; tensors: {counts}"
        told = {
            "renamed": lambda entry: f"{entry['from']} -> {entry['to']}  {_shape(entry['shape'])}",
            "dropped": lambda entry: f"{entry['name']}  {_shape(entry['shape'])}: {entry['why']}",
            "resized": lambda entry: f"{entry['name']}  {_shape(entry['from_shape'])} -> {_shape(entry['to_shape'])}",
            "missing": lambda entry: f"{entry['name']}  {_shape(entry['shape'])}",
        }
        for name, tell in told.items():
            if plain[name]:
                yield f"{name}:" if name != "missing" else "missing, to start as in any new model:"
                yield from (f"  {line}" for line in _grouped([tell(entry) for entry in plain[name]]))
        yield f"{self.out}: {self.kind} {self.identity}"


def convert_checkpoint(
    source: str | Path, out: Path, settings: ConvertSettings, report: Path | None = None
) -> Converted:
    """Turn a published file (or a name on a hub) into a bundle or a tower, and write the report as JSON if asked for.

    A dual encoder becomes a bundle; an image ViT, a TimeSformer, a DistilBERT or a BERT becomes a tower, from which
    models start (`Init.vit`, `Init.distilbert`). Nothing of the file is run, and what is written is complete or absent.

    Raises:
        WeightsError: the file cannot be read, is of no known layout or does not fit it, or `out` cannot be written.
        AnnotationError: `report` cannot be written.
    """
    if str(out).startswith(PREFIX):
        raise WeightsError("is a name on a hub; give a folder to write to.", path=out)
    file = read_foreign(source, settings.layout)
    try:
        with write_whole(report) if report is not None else nullcontext() as target:
            converted = _convert(file, str(source), out, settings)
            if target is not None:
                json.dump(converted.to_plain(), target, indent=1)
                target.write("\n")
    except OSError as problem:
        raise WeightsError(f"cannot be written ({problem.strerror or problem}).", path=out) from problem
    return converted


def _convert(file: ForeignFile, source: str, out: Path, settings: ConvertSettings) -> Converted:
    layout = file.layout
    provenance: dict[str, Any] = {"source": Path(source).name, "layout": layout.name}
    if layout.holds == "dual_encoder":
        model, report = load_dual_encoder(file, settings.sizes)
        video = model.config.video
        size = video.frame_size[0]
        preprocess = Preprocess(num_frames=min(4, video.num_frames), image_size=size, resize=size * 8 // 7)
        provenance["text_style"] = settings.text_style or layout.text_style
        kind, identity = "frozen", save_bundle(out, model, preprocess, TOKENIZER, provenance)
    elif settings.text_style is not None:
        raise WeightsError(f"is of the layout {layout.name}; text_style is of no use to it.", path=file.path)
    else:
        tower = load_tower_weights(file, settings.sizes)
        report = tower.report
        kind, identity = layout.holds, save_tower(out, tower.settings, tower.weights, tower.missing, provenance)
    return Converted(source, out, layout.name, kind, identity, report)


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _grouped(lines: list[str]) -> Iterator[str]:
    """Yield lines that differ only in the number of a layer once, with a star for it and how many there are."""
    starred = [re.sub(r"(blocks\.|layers?\.|encoderblock_)\d+(?=[./])", r"\1*", line) for line in lines]
    for line, number in Counter(starred).items():
        yield f"{line}  ({number} times)" if number > 1 else lines[starred.index(line)]
