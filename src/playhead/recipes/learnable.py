"""Before a classifier is trained: does its head fit the data, and can the labels be learnt at all?"""

import copy
import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from playhead.data.action_videos import some
from playhead.data.label_checks import label_findings
from playhead.errors import RecipeError
from playhead.models.action_probe import ActionProbeConfig
from playhead.models.videomae import VideoMAEClassifierConfig
from playhead.tasks.recognition import Recognition
from playhead.tasks.recognition_samples import TrainingClips, collate_training
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer
from playhead.video.transforms import normalize

logger = logging.getLogger(__name__)

ClassifierConfig = VideoMAEClassifierConfig | ActionProbeConfig
MOST_VIDEOS = 8
"""Videos of the batch that is learnt by heart."""


def fit_classes(model: ClassifierConfig, task: Recognition) -> ClassifierConfig:
    """Return the model with as many classes as the data, if the task asks for that.

    Raises:
        RecipeError: the model has another number of classes, and the task does not ask for that.
    """
    count = len(task.class_names())
    if model.num_classes == count:
        return model
    if task.fit_classes:
        return replace(model, num_classes=count)
    raise RecipeError(
        f"the data has {count} classes, the model {model.num_classes}; set model.num_classes to {count}, or give the "
        "right lists.",
        path=task.files.lists,
    )


@dataclass(frozen=True, slots=True)
class Overfit:
    """How learning one batch by heart went: steps, loss, and the videos still told wrong, with true and told class."""

    steps: int
    loss: float
    wrong: tuple[tuple[str, str, str], ...]
    videos: int


def check_labels(model: nn.Module, task: Recognition, optim: Optim, seed: int) -> Overfit | None:
    """Tell what is odd about the labels, and learn one batch by heart with a copy of the model.

    That the same few clips cannot be told apart after `task.overfit_steps` steps means that something is wrong: labels
    of another list, one video under two names, black frames, or a rate that is far off.

    Raises:
        RecipeError: the batch is not learnt.
    """
    train, val = task.read_split("train"), task.read_split("val")
    for finding in label_findings(train, val):
        logger.warning(finding)
    if not task.overfit_steps:
        return None
    video, labels, names = _one_batch(task, seed)
    found = overfit(copy.deepcopy(model), video, labels, optim, task.overfit_steps)
    told = [
        (names[place], train.classes[int(labels[place])], train.classes[int(found.told[place])])
        for place in torch.nonzero(found.told != labels)[:, 0].tolist()
    ]
    result = Overfit(found.steps, found.loss, tuple(told), len(labels))
    if told:
        examples = some(f"{name!r} is {true!r}, told as {said!r}" for name, true, said in told)
        raise RecipeError(
            f"{len(told)} of {len(labels)} clips are still told wrong after {found.steps} steps on them alone (loss "
            f"{found.loss:.2f}): {examples}. Look at them: are the labels those of these videos? Else raise optim.lr "
            "or task.overfit_steps; 0 leaves this check out.",
            path=task.files.lists,
        )
    logger.info("labels: %d clips learnt by heart in %d steps.", result.videos, result.steps)
    return result


@dataclass(frozen=True, slots=True)
class _Learnt:
    steps: int
    loss: float
    told: Tensor


def overfit(model: nn.Module, video: Tensor, labels: Tensor, optim: Optim, steps: int) -> _Learnt:
    """Return after how many steps all clips were told right, or after `steps` which class is told of each."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, video, labels = model.to(device).eval(), video.to(device), labels.to(device)  # eval: no dropout
    optimizer = make_optimizer(model, replace(optim, weight_decay=0.0))
    done = 0
    while True:
        logits = model(video)
        loss, told = F.cross_entropy(logits.float(), labels), logits.argmax(dim=1)
        if done == steps or bool((told == labels).all()):
            return _Learnt(done, float(loss.detach()), told.cpu())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done += 1


def _one_batch(task: Recognition, seed: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return clips of as many classes as possible, unvaried: of each class in turn one video drawn at random."""
    plain = replace(task, policy=None, erase=None, mixing=None, repeats=1)
    samples, generator = plain.samples("train"), np.random.default_rng(seed)
    assert isinstance(samples, TrainingClips)  # as of every split "train"
    by_label: dict[int, list[int]] = {}
    for index in generator.permutation(len(samples)).tolist():
        by_label.setdefault(samples.videos[index].label, []).append(index)
    rounds = [group[turn] for turn in range(MOST_VIDEOS) for group in by_label.values() if turn < len(group)]
    batch = collate_training([samples.read(index, seed) for index in rounds[:MOST_VIDEOS]])
    return normalize(batch.video, task.preprocess.mean, task.preprocess.std), batch.labels, batch.names
