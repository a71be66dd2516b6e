"""Only complete checkpoints count; the last few and the best are kept."""

from pathlib import Path

from playhead.train.checkpoint import Progress, latest, prune, remove_unfinished


def make(run_dir, step, *, complete=True):
    folder = Path(run_dir) / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text("{}")
    if complete:
        (folder / ".metadata").write_bytes(b"")
    return folder


def test_the_newest_complete_folder_is_found_and_what_is_half_written_is_cleaned_away(tmp_path):
    assert latest(tmp_path) is None
    whole, half = make(tmp_path, 9), make(tmp_path, 100, complete=False)
    writing = tmp_path / "checkpoints" / ".writing_step_00000200"
    writing.mkdir()
    notes = tmp_path / "checkpoints" / "notes.txt"
    notes.write_text("mine")
    assert latest(tmp_path) == whole
    remove_unfinished(tmp_path)
    assert (whole.exists(), half.exists(), writing.exists(), notes.exists()) == (True, False, False, True)


def test_steps_beyond_eight_digits_are_newer_still(tmp_path):
    make(tmp_path, 99_999_999)
    newer = make(tmp_path, 100_000_000)
    assert latest(tmp_path) == newer


def test_pruning_keeps_the_last_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 5):
        make(tmp_path, step)
    prune(tmp_path, keep_last=2, best_step=2)
    assert sorted(path.name[-1] for path in (tmp_path / "checkpoints").iterdir()) == ["2", "4", "5"]


def test_a_new_best_is_only_what_is_strictly_better():
    progress = Progress(settings={}, step=10).after_evaluation({"intra": 40.0}, "intra")
    assert (progress.best, progress.best_step) == (40.0, 10)
    later = Progress(settings={}, step=20, best=40.0, best_step=10)
    assert later.after_evaluation({"intra": 40.0}, "intra").best_step == 10
    assert later.after_evaluation({"intra": 40.1}, "intra").best_step == 20
    assert later.after_evaluation({"intra": 99.0}, None).best_step == 10
