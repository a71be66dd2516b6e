"""Pretrain on real photographs with real texts, and retrieve unseen exercises: a small model, from scratch.

Source of the media: free-exercise-db (public domain), start and end photo of each exercise, with name and instructions,
in PLAYHEAD_DATA (default ../shared/data) under sets/free_exercise_db. Each pair becomes a two-second clip; a quarter of
the exercises is held out. Prints recall of the held-out clips by their texts against chance, untrained and trained.

    python -m benchmarks.real_exercises [--steps 600] [--seed 0] [--out runs/exercises]
"""

import argparse
import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from playhead.recipes.base import build_model, open_run, run
from playhead.recipes.small import captions_small
from playhead.tasks.retrieval import Retrieval
from playhead.train.evaluate import evaluate

ROOT = Path(__file__).parents[1]
SIZE = (256, 192)  # width and height of the clips; the photographs are 3:2 and are stretched a little


def make_clips(source: Path, out: Path, seed: int) -> tuple[int, int]:
    """Write one clip per exercise and the two caption files; return how many are learnt and how many held out."""
    out.mkdir(parents=True, exist_ok=True)
    pairs = []
    for exercise in json.loads((source / "captions.json").read_text()):
        photos = [source / "frames" / f"{exercise['id']}__{place}.jpg" for place in (0, 1)]
        if all(photo.exists() for photo in photos):
            name = f"{exercise['id']}.mp4"
            if not (out / name).exists():
                write_clip(out / name, photos)
            text = " ".join([exercise["name"] + ".", *exercise["instructions"]])
            pairs.append({"file": name, "text": text})
    order = np.random.default_rng(seed).permutation(len(pairs))
    held_out = len(pairs) // 4
    for name, places in (("val", order[:held_out]), ("train", order[held_out:])):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(pairs[place]) + "\n" for place in sorted(places)))
    return len(pairs) - held_out, held_out


def write_clip(path: Path, photos: list[Path], fps: int = 4) -> None:
    """Write a second of each photo."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for place, photo in enumerate(photos):
            with av.open(str(photo)) as image:
                picture = next(image.decode(video=0)).reformat(*SIZE, format="yuv420p")
            for step in range(fps):
                frame = av.VideoFrame.from_ndarray(picture.to_ndarray(), format="yuv420p")
                frame.pts, frame.time_base = place * fps + step, Fraction(1, fps)
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/exercises"))
    arguments = parser.parse_args()
    source = Path(os.environ.get("PLAYHEAD_DATA", ROOT.parent / "shared" / "data")) / "sets" / "free_exercise_db"
    if not source.exists():
        print(f"{source} is not there; set PLAYHEAD_DATA. Nothing measured.")
        return
    clips = arguments.out / "clips"
    learnt, held_out = make_clips(source, clips, arguments.seed)
    recipe = captions_small()
    assert isinstance(recipe.watch, Retrieval)
    recipe = replace(
        recipe,
        task=replace(recipe.task, videos=clips, pairs=clips / "train.jsonl"),
        watch=replace(recipe.watch, videos=clips, pairs=clips / "val.jsonl"),
        train=replace(recipe.train, steps=arguments.steps, seed=arguments.seed, keep_best=None, save_every=200),
    )
    untrained = evaluate(build_model(recipe), recipe.watch, "val")
    run(recipe, arguments.out / f"run_{arguments.steps}_{arguments.seed}")
    trained = evaluate(open_run(arguments.out / f"run_{arguments.steps}_{arguments.seed}").model, recipe.watch, "val")
    print(f"{learnt} exercises learnt, {held_out} unseen; text to clip among the unseen, percent")
    print(f"{'':12}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'median rank':>14}")
    print(f"{'chance':12}" + "".join(f"{100 * k / held_out:8.1f}" for k in (1, 5, 10)) + f"{(held_out + 1) / 2:14.1f}")
    for name, scores in (("untrained", untrained), ("trained", trained)):
        cells = "".join(f"{scores[f'retrieval/t2v/R@{k}']:8.1f}" for k in (1, 5, 10))
        print(f"{name:12}{cells}{scores['retrieval/t2v/median_rank']:14.1f}")


if __name__ == "__main__":
    main()
