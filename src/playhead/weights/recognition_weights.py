"""Where classifiers start: from a pretraining, from another classifier, and their heads by the names of the classes.

A head's rows mean nothing without the order of its classes, and published orders differ for the same classes. So a head
is only taken by class names: those that a bundle notes, or those that are given for an official file.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from playhead.data.kinetics710 import head_rows
from playhead.errors import WeightsError
from playhead.models.action_probe import ActionProbe
from playhead.models.videomae import VideoMAE, VideoMAEClassifier
from playhead.weights.bundle import load_task_bundle
from playhead.weights.videomae_weights import initialise_videomae, read_videomae

MOST_NAMES = 5


@dataclass(frozen=True)
class Start:
    """What a classifier took: whether it has a head, and the classes whose rows it had to start anew."""

    taken: int
    """Tensors taken besides the head."""
    head_rows: int = 0
    """Rows of the head that were taken."""
    fresh: tuple[str, ...] = field(default=())
    """Classes that the source does not have, if it has a head at all."""

    def __str__(self) -> str:
        if not self.head_rows:
            return f"{self.taken} tensors taken, the head starts anew"
        shown = ", ".join(self.fresh[:MOST_NAMES]) + (", ..." if len(self.fresh) > MOST_NAMES else "")
        rest = f"; {len(self.fresh)} classes start anew ({shown})" if self.fresh else ""
        return f"{self.taken} tensors and {self.head_rows} rows of the head taken{rest}"


def start_classifier(
    model: VideoMAEClassifier | ActionProbe,
    path: str | os.PathLike[str],
    classes: Sequence[str],
    source_classes: Sequence[str] | None = None,
) -> Start:
    """Start a classifier from a bundle or an official file, of a pretraining or of another classifier.

    `classes` name the rows of the model's head, `source_classes` those of the file's, if it is an official one with a
    head; without them its head is not taken. A bundle notes its own. A class that the source does not have keeps its
    random start.

    Raises:
        WeightsError: nothing fits: another size, no class in common, a head of another number of classes than names;
            or a probe is to look at a classifier, whose encoder ends without a norm.
    """
    source, found = _open(Path(path))
    if isinstance(model, ActionProbe):
        return Start(_fill_encoder(model, source, path))
    if isinstance(source, VideoMAEClassifier):
        names = found or source_classes
        _check_names(source, names, path)
        body = {key: value for key, value in source.state_dict().items() if not key.startswith("head.")}
        _require_fit(model, body, path)
        model.load_state_dict(model.state_dict() | body)
        return _take_head(model, source.head.weight, source.head.bias, names, classes, len(body), path)
    if isinstance(source, VideoMAE):
        body = {key: value for key, value in source.state_dict().items() if key.startswith("encoder.")}
        body = {key: value for key, value in body.items() if not key.startswith("encoder.norm.")}
        _require_fit(model, body, path)
        model.load_state_dict(model.state_dict() | body)
        return Start(len(body))
    return _from_official(model, path, classes, source_classes)


def _open(path: Path) -> tuple[VideoMAE | VideoMAEClassifier | None, tuple[str, ...] | None]:
    """Return the model of a bundle and the classes that it notes; None of an official file."""
    if not path.is_dir():
        return None, None
    bundle = load_task_bundle(path)
    if not isinstance(bundle.model, VideoMAE | VideoMAEClassifier):
        raise WeightsError(f"holds a {type(bundle.model).__name__}; a VideoMAE or its classifier is needed.", path=path)
    names = bundle.provenance.get("classes")
    return bundle.model, tuple(names) if names else None


def _from_official(
    model: VideoMAEClassifier, path: str | os.PathLike[str], classes: Sequence[str], names: Sequence[str] | None
) -> Start:
    file = read_videomae(path)
    initialise_videomae(model, path, keep_head=False)
    body = sum(not key.startswith("head.") for key in model.state_dict())
    native = file.native
    if file.holds == "pretrained" or names is None or "head.weight" not in native:
        return Start(body - 2 * (file.holds == "pretrained"))  # feature_norm is of fine-tuning
    if len(names) != len(native["head.weight"]):
        raise WeightsError(
            f"its head has {len(native['head.weight'])} classes, but {len(names)} names are given.", path=path
        )
    return _take_head(model, native["head.weight"], native["head.bias"], names, classes, body, path)


def _take_head(
    model: VideoMAEClassifier,
    weight: Tensor,
    bias: Tensor,
    names: Sequence[str] | None,
    classes: Sequence[str],
    taken: int,
    path: str | os.PathLike[str],
) -> Start:
    if names is None:
        return Start(taken)
    rows = head_rows(names, classes)
    fresh = tuple(name for name, row in zip(classes, rows, strict=True) if row is None)
    if len(fresh) == len(rows):
        shown = ", ".join(map(repr, list(names)[:MOST_NAMES]))
        raise WeightsError(
            f"its head tells none of the {len(rows)} classes ({shown}, ...); leave init.head_classes unset to start "
            "with a new head.",
            path=path,
        )
    with torch.no_grad():
        for place, row in enumerate(rows):
            if row is not None:
                model.head.weight[place] = weight[row].float()
                model.head.bias[place] = bias[row].float()
    return Start(taken, len(rows) - len(fresh), fresh)


def _fill_encoder(
    model: ActionProbe, source: VideoMAE | VideoMAEClassifier | None, path: str | os.PathLike[str]
) -> int:
    if source is None:
        file = read_videomae(path)
        if file.holds != "pretrained":
            raise _no_norm(path)
        native = file.native
    elif isinstance(source, VideoMAEClassifier):
        raise _no_norm(path)
    else:
        native = source.state_dict()
    body = {key: value.float() for key, value in native.items() if key.startswith("encoder.")}
    wanted = {f"encoder.{key}" for key in model.encoder.state_dict()}
    if missing := sorted(wanted - set(body)):
        raise WeightsError(f"lacks {', '.join(missing[:MOST_NAMES])} of the encoder.", path=path)
    _require_fit(model, body, path)
    model.load_state_dict(model.state_dict() | body)
    return len(body)


def _no_norm(path: str | os.PathLike[str]) -> WeightsError:
    problem = "holds a fine-tuned classifier, whose encoder ends without a norm; probe the pretrained model."
    return WeightsError(problem, path=path)


def _check_names(model: VideoMAEClassifier, names: Sequence[str] | None, path: str | os.PathLike[str]) -> None:
    if names is not None and len(names) != model.config.num_classes:
        raise WeightsError(
            f"its head has {model.config.num_classes} classes, but {len(names)} names are given.", path=path
        )


def _require_fit(
    model: VideoMAEClassifier | ActionProbe, body: dict[str, Tensor], path: str | os.PathLike[str]
) -> None:
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = [key for key, value in body.items() if own.get(key) != tuple(value.shape)]
    lacking = [key for key in own if key.startswith("encoder.layers.") and key not in body]
    if wrong or lacking:
        key = (wrong + lacking)[0]
        found = tuple(body[key].shape) if key in body else "none"
        raise WeightsError(
            f"is a checkpoint of another size: {key} is {found}, the model has {own.get(key, 'none')} "
            f"({len(wrong) + len(lacking)} tensors differ); set model.encoder to its sizes.",
            path=path,
        )
