"""The whole road in one command: make a world, pretrain on it, measure EgoMCQ, index unseen videos, ask in words."""

import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from playhead.apps.asking import Asked, chance_recall, group_by_text
from playhead.apps.heads import Challenge, Scores, always_same, fast_precision, save_untrained, train_head
from playhead.apps.index import VideoIndex
from playhead.apps.prepare import Ego4DFolder, build_pairs
from playhead.apps.progress import index_progress, progress_bar
from playhead.apps.report import write_report
from playhead.apps.search import search
from playhead.apps.windows import WindowSettings
from playhead.data.queries import read_queries
from playhead.errors import RecipeError, SearchError
from playhead.recipes.base import BUNDLE, Recipe, build_model, open_run, run
from playhead.recipes.small import world_ego_nce
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.text.questions import as_narration
from playhead.train.evaluate import evaluate
from playhead.types import Query
from playhead.weights.bundle import Bundle
from playhead.world.config import WorldConfig
from playhead.world.world import make_world

logger = logging.getLogger(__name__)
console = Console()

TOP = 5
WINDOWS = WindowSettings(stride=1, batch_size=32)  # four windows a second: a moment of two seconds is seen eight times


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Make a small world, learn it, search it; report.html and report.json say how well (minutes on two cores)."""

    out: Path = Path("runs/demo")
    """Folder of everything that is made; a second run uses what it finds there."""
    world: WorldConfig = field(
        default_factory=lambda: WorldConfig(seed=1, train_videos=72, test_videos=10, fps=10, gop=10)
    )
    """The generated videos; ten frames a second and a key frame each second make them cheap to read at random. The
    recipe was settled on the world of seed 0, so this one's test videos have decided nothing."""
    num_questions: int = 400
    """EgoMCQ questions of each kind, over the validation videos (they choose the checkpoint) and again over the test
    videos (they are reported)."""
    shown: int = 8
    """Questions in words whose answers the report shows."""
    steps: int | None = 850
    """Training steps; unset takes the recipe's number, which leaves no time for the heads."""
    nlq_steps: int = 120
    """Training steps of the NLQ heads, on the tower as it is after pretraining and on the one before."""
    oscc_steps: int = 30
    """Training steps of both towers for OSCC."""
    head_videos: int = 30
    """Training videos whose queries the NLQ head learns from."""

    def run(self) -> None:
        """Run the demo, print the table and say where the report lies."""
        report = run_demo(self)
        console.print(as_table(report))
        console.print(heads_table(report))
        console.print(f"{self.out / 'report.html'}")


def run_demo(settings: Demo) -> dict[str, Any]:
    """Run the demo and return what `report.json` holds; `report.html` lies beside it."""
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    with _timed("world", seconds):
        folder = prepare_world(settings)
    recipe = demo_recipe(settings)
    reported = reported_questions(recipe, folder)
    with _timed("untrained", seconds):
        untrained = evaluate(build_model(recipe), reported, "test", batch_size=64)
    with _timed("pretraining", seconds):
        run(recipe, settings.out / "pretraining")
    bundle = open_run(settings.out / "pretraining")
    with _timed("egomcq", seconds):
        trained = evaluate(bundle.model, reported, "test", batch_size=64)
    queries = list(read_queries(folder.root / "annotations" / "nlq_val.json"))
    with _timed("index", seconds):
        index = index_videos(settings.out / "index", bundle, folder, queries)
    with _timed("search", seconds):
        asked, found = ask(index, bundle, folder, queries)
    with _timed("heads", seconds):
        heads = put_heads(settings, recipe, folder)
    seconds["total"] = time.perf_counter() - begin
    report = {
        "egomcq": _scores(trained),
        "untrained": _scores(untrained),
        "search": found,
        "heads": heads,
        "oscc_chance": max(share := (always_same("oscc", folder) or {})["oscc/accuracy"], 100 - share),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "world": {"videos": len(list(folder.videos.glob("*.mp4"))), "minutes": _minutes(settings.world)},
        "machine": describe_machine(),
    }
    (settings.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    with _timed("report", seconds):
        rows = [
            (name, [scores[metric] for scores in report["heads"][challenge].values()], chance)
            for name, challenge, metric, chance in head_rows(report)
        ]
        write_report(settings.out, report, _pick(asked, settings.shown), settings.out / "pretraining", rows)
    return report


def prepare_world(settings: Demo) -> Ego4DFolder:
    """Make the world, EgoClip and EgoMCQ, or use those that lie there."""
    folder = Ego4DFolder(root=settings.out / "world")
    with progress_bar(console) as bar:
        task = bar.add_task("world", total=None)
        make_world(folder.root, settings.world, lambda done, total: bar.update(task, completed=done, total=total))
    number = settings.num_questions
    build_pairs(folder, num_inter=number, num_intra=number, num_test=number)
    return folder


def reported_questions(recipe: Recipe, folder: Ego4DFolder) -> EgoMCQ:
    """Return EgoMCQ over the test videos, by which nothing was chosen."""
    if not isinstance(recipe.watch, EgoMCQ):
        raise RecipeError("the demo's recipe must watch EgoMCQ, whose settings its test takes over.")
    return replace(recipe.watch, questions=folder.egomcq_test)


def demo_recipe(settings: Demo) -> Recipe:
    """Return the demo's run: bf16 where the processor computes it, since it is twice as fast there."""
    recipe = world_ego_nce(settings.out / "world")
    steps = settings.steps if settings.steps is not None else recipe.train.steps
    return replace(recipe, train=replace(recipe.train, precision=fast_precision(), steps=steps))


def index_videos(where: Path, bundle: Bundle, folder: Ego4DFolder, queries: Sequence[Query]) -> VideoIndex:
    """Index the videos that the questions are about; training saw none of them."""
    files = [folder.videos / f"{video}.mp4" for video in sorted({query.video_id for query in queries})]
    if where.exists() and not _holds(where, bundle):
        shutil.rmtree(where)  # of an earlier model: its vectors mean nothing to this one
    index = VideoIndex.open_or_create(where, bundle, WINDOWS)
    with index_progress(console) as show:
        index.update(files, bundle, WINDOWS, progress=show)
    return index


def _holds(where: Path, bundle: Bundle) -> bool:
    try:
        VideoIndex.open(where, bundle)
    except SearchError:
        return False
    return True


def ask(
    index: VideoIndex, bundle: Bundle, folder: Ego4DFolder, queries: Sequence[Query]
) -> tuple[list[Asked], dict[str, Any]]:
    """Ask every distinct question; return the answers and recall at five with its chance."""
    paths = {query.video_id: str((folder.videos / f"{query.video_id}.mp4").resolve()) for query in queries}
    asked = [
        replace(question, moments=tuple(search(index, bundle, as_narration(question.text), top=TOP)))
        for question in group_by_text(queries, paths)
    ]
    durations = index.durations()
    found = {
        "recall_at_5": sum(question.is_found for question in asked) / len(asked),
        "chance_at_5": chance_recall(asked, durations, TOP),
        "questions": len(asked),
        "videos": len(durations),
    }
    return asked, found


def put_heads(settings: Demo, recipe: Recipe, folder: Ego4DFolder) -> dict[str, dict[str, Scores]]:
    """Train a head for NLQ and one for OSCC on the untrained and on the pretrained tower, a short while each.

    Returns the scores by challenge and tower; they are of the validation videos, by whose EgoMCQ the pretrained tower
    was chosen.
    """
    towers = {
        "untrained": save_untrained(recipe, settings.out / "untrained"),
        "EgoNCE": settings.out / "pretraining" / BUNDLE,
    }
    learnt = sorted({query.video_id for query in read_queries(folder.root / "annotations" / "nlq_train.json")})
    measured = sorted({query.video_id for query in read_queries(folder.root / "annotations" / "nlq_val.json")})
    videos = [folder.videos / f"{video}.mp4" for video in [*learnt[: settings.head_videos], *measured]]
    steps: dict[Challenge, int] = {"nlq": settings.nlq_steps, "oscc": settings.oscc_steps}
    return {
        challenge: {
            name: train_head(challenge, tower, folder, settings.out, steps=number, videos=videos)
            for name, tower in towers.items()
        }
        for challenge, number in steps.items()
    }


def as_table(report: dict[str, Any]) -> Table:
    """Return the figures as a table for the terminal."""
    mcq, untrained, found = report["egomcq"], report["untrained"], report["search"]
    table = Table("EgoMCQ, test videos", "inter %", "intra %", title="Playhead demo")
    table.add_row("chance", "20.0", "20.0")
    table.add_row("untrained", f"{untrained['inter']:.1f}", f"{untrained['intra']:.1f}")
    table.add_row("EgoNCE", f"{mcq['inter']:.1f}", f"{mcq['intra']:.1f}")
    table.add_row("questions", str(mcq["questions_inter"]), str(mcq["questions_intra"]))
    recall, chance = 100 * found["recall_at_5"], 100 * found["chance_at_5"]
    table.caption = f"search recall@5 {recall:.1f} % (chance {chance:.1f} %), {report['seconds']['total']:.0f} s"
    return table


def heads_table(report: dict[str, Any]) -> Table:
    """Return what the heads reach on either tower as a table for the terminal."""
    table = Table("challenge, validation videos", *report["heads"]["nlq"], "chance", title="Put to work")
    for name, challenge, metric, chance in head_rows(report):
        scores = report["heads"][challenge]
        table.add_row(name, *(f"{scores[tower][metric]:.1f}" for tower in scores), chance)
    return table


def head_rows(report: dict[str, Any]) -> list[tuple[str, Challenge, str, str]]:
    """Return (what is measured in percent, challenge, its metric, what it is without learning) line by line."""
    nlq, oscc = (report["heads"][challenge]["untrained"] for challenge in ("nlq", "oscc"))
    return [
        (f"NLQ R@1 at IoU 0.3, {nlq['nlq/queries']:.0f} queries", "nlq", "nlq/R1@0.3", ""),
        (f"NLQ R@5 at IoU 0.3, {nlq['nlq/queries']:.0f} queries", "nlq", "nlq/R5@0.3", ""),
        (f"OSCC accuracy, {oscc['oscc/clips']:.0f} clips", "oscc", "oscc/accuracy", f"{report['oscc_chance']:.1f}"),
    ]


def describe_machine() -> dict[str, Any]:
    """Return what figures of time depend on."""
    model = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    logger.info("%s ...", name)
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _scores(scores: dict[str, float]) -> dict[str, float]:
    plain = {name.removeprefix("egomcq/"): value for name, value in scores.items()}
    counts = {name: int(value) for name, value in plain.items() if name.startswith("questions")}
    return {**plain, **counts, "questions": sum(counts.values())}


def _minutes(world: WorldConfig) -> float:
    return (world.train_videos + world.val_videos + world.test_videos) * world.seconds / 60


def _pick(asked: Sequence[Asked], shown: int) -> list[Asked]:
    """Return questions spread evenly over all, so that hits and misses are shown as they come."""
    step = max(len(asked) // max(shown, 1), 1)
    return list(asked[::step])[:shown]
