"""One HTML page of a demo run: learning curves, the EgoMCQ table, and what search found, in pictures."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from playhead.apps.asking import HIT_IOU, Asked
from playhead.apps.pictures import Curve, filmstrip, line_chart
from playhead.errors import PlayheadError
from playhead.train.log import read_log
from playhead.types import Span

HeadRow = tuple[str, list[float], str]
"""What is measured, its value on each tower, and what it is by chance (empty where that is not known)."""


def write_report(
    out: Path, report: dict[str, Any], shown: Sequence[Asked], run_dir: Path, heads: Sequence[HeadRow]
) -> Path:
    """Write `report.html` into `out` from the figures of `report` and the run's log; return its path."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("playhead.apps").joinpath("report.html").read_text()
    )
    mcq, found = report["egomcq"], report["search"]
    numbers = [
        ("EgoMCQ inter", f"{mcq['inter']:.1f} %", "chance 20 %"),
        ("EgoMCQ intra", f"{mcq['intra']:.1f} %", "chance 20 %"),
        ("search recall at 5", f"{100 * found['recall_at_5']:.1f} %", f"chance {100 * found['chance_at_5']:.1f} %"),
        ("this run, from start to page", f"{report['seconds']['total']:.0f} s", report["machine"]["processor"]),
    ]
    page = template.render(
        title="Playhead: a small world, learnt and searched",
        summary=(
            f"A generated first-person world of {report['world']['videos']} videos ({report['world']['minutes']:.0f} "
            f"minutes); a dual encoder pretrained on its narrations; unseen videos are measured and searched."
        ),
        numbers=numbers,
        charts=_charts(read_log(run_dir)),
        table=[
            ("chance", 20.0, 20.0),
            ("untrained", report["untrained"]["inter"], report["untrained"]["intra"]),
            ("EgoNCE", mcq["inter"], mcq["intra"]),
        ],
        table_note=(
            f"{mcq['questions_inter']} questions with choices from different videos, {mcq['questions_intra']} with "
            "choices from one video, all over test videos, by which nothing was chosen."
        ),
        heads={
            "towers": list(report["heads"]["nlq"]),
            "rows": heads,
            "note": (
                "NLQ: a small VSLNet on features of the tower, which stays as it is. OSCC: the tower itself is "
                "fine-tuned. One seed and a short training each; playhead transfer makes the full comparison."
            ),
        },
        search_note=(
            f"{found['questions']} distinct questions of nlq_val.json over {found['videos']} indexed videos, unseen in "
            "training (their EgoMCQ chose the checkpoint). A moment "
            f"counts as found when it overlaps a true span of its video by an IoU of at least {HIT_IOU}. "
            "First the truth, then the five best moments; green is a hit."
        ),
        questions=[_question(asked) for asked in shown],
        made="All figures come from the run that wrote this page.",
        facts=[(name, _plain(value)) for name, value in report["machine"].items()]
        + [(f"seconds: {name}", f"{value:.1f}") for name, value in report["seconds"].items()],
    )
    path = out / "report.html"
    path.write_text(page)
    return path


def _charts(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    loss = [(line["step"], line["parts"]["ego_nce"]) for line in log if "parts" in line]
    measured = [(line["step"], line["metrics"]) for line in log if "metrics" in line]
    charts = []
    if loss:
        charts.append(("EgoNCE of the training batches", line_chart([Curve("EgoNCE", loss)], "step", floor=0.0)))
    kinds = [
        Curve(kind, [(step, metrics[f"egomcq/{kind}"]) for step, metrics in measured], color)
        for color, kind in enumerate(("inter", "intra"), start=1)
    ]
    if kinds[0].points:
        svg = line_chart(kinds, "step", floor=0.0, level=("chance", 20.0))
        charts.append(("EgoMCQ on validation videos while training, percent", svg))
    return charts


def _question(asked: Asked) -> dict[str, Any]:
    moments = [_moment("truth", video, span, truth=True, hit=False) for video, span in asked.truth[:1]]
    for place, moment in enumerate(asked.moments, start=1):
        title = f"{place}. score {moment.score:.2f}"
        moments.append(_moment(title, moment.video_id, moment.span, truth=False, hit=asked.is_hit(moment)))
    return {"text": asked.text, "moments": moments}


def _moment(title: str, video: str, span: Span, *, truth: bool, hit: bool) -> dict[str, Any]:
    where = f"{Path(video).stem[:8]}, {span.start:.1f}-{span.end:.1f} s"
    try:
        image = filmstrip(video, span)
    except PlayheadError as error:
        image, where = "", f"{where}: {error}"
    alt = f"{title}: three frames of {where}"
    return {
        "title": title + (", found" if hit else ""),
        "where": where,
        "image": image,
        "alt": alt,
        "hit": hit,
        "truth": truth,
    }


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
