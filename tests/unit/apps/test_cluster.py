"""Jobs on a Ray of this machine with two workers: what dies, stalls or raises takes only itself along."""

import json
import os
import re
import signal
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_videos import X264, write_video

from playhead.apps.cluster import ClusterSettings, joined, run_on_cluster
from playhead.apps.encoding_jobs import Elsewhere
from playhead.apps.features import extract_features, read_features
from playhead.apps.processes import Done, Failed, run_here
from playhead.apps.transcode import TranscodeSettings, transcode
from playhead.apps.transcode_video import hash_file
from playhead.apps.windows import WindowSettings
from playhead.cli import main
from playhead.errors import PlayheadError

ray = pytest.importorskip("ray", reason="Ray is not installed; it comes with playhead[ray]")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

HERE = ClusterSettings(address="local", attempts=2)
CHUNKS = TranscodeSettings(short_side=48, crf=4, chunk_seconds=1)


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    yield
    ray.shutdown()


def work(job, beat):
    """Do what the job's name says; its number is that of its try."""
    name, folder = job
    tries = len(list(folder.glob(f"{name} *"))) + 1
    (folder / f"{name} {tries}").touch()
    match name:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die-once" if tries == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        case "stall":
            time.sleep(60)
        case "stumble":
            raise KeyError("x")
        case "full":
            raise OSError(28, "No space left on device", "out.mp4")
    return f"{name} {tries}"


def test_whatever_a_job_does_the_others_are_done(tmp_path):
    jobs = [(name, tmp_path) for name in ("a", "die-once", "stall", "b", "die", "stumble", "full", "c")]
    settings = ClusterSettings(address="local", attempts=2, stall_seconds=8.0)
    outcomes = list(run_on_cluster(work, jobs, settings=settings))
    assert sorted(outcome.job[0] for outcome in outcomes) == sorted(name for name, _ in jobs)
    done = [outcome.result for outcome in outcomes if isinstance(outcome, Done)]
    failed = {outcome.job[0]: outcome for outcome in outcomes if isinstance(outcome, Failed)}
    assert sorted(done) == ["a 1", "b 1", "c 1", "die-once 2"]
    assert re.fullmatch(r"the worker that worked at it died 2 times \(\w+\)\.", failed["die"].reason)
    assert failed["stall"].reason == "nothing went on for 8 s, so it was given up."
    assert failed["stumble"].reason == "KeyError: 'x'"
    assert failed["full"].error.errno == 28
    begun = {path.name for path in tmp_path.iterdir()}
    assert begun == {f"{name} 1" for name, _ in jobs} | {"die 2", "die-once 2"}


def test_whoever_stops_listening_stops_the_jobs(tmp_path):
    jobs = [("a", tmp_path), ("stall", tmp_path)]
    with closing(run_on_cluster(work, jobs, settings=HERE)) as outcomes:
        assert next(outcomes) == Done(("a", tmp_path), "a 1")
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2.0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2.0


class LocalOnly:
    def __reduce__(self):
        return __import__, ("no_such_module",)


def test_workers_that_cannot_take_up_jobs_end_the_run(tmp_path):
    with pytest.raises(PlayheadError, match=r"a worker cannot take up a job \(.*no_such_module.*needs playhead"):
        list(run_on_cluster(partial(work, LocalOnly()), [("a", tmp_path)], settings=HERE))


def test_what_no_machine_has_is_said_before_anything_starts():
    asked = ClusterSettings(address="local", cpus=64.0)
    words = r"64 cores and 0 GPUs, but no machine of the cluster has them \(Ray: 1 machine, 2 cores, 0 GPUs\)"
    with pytest.raises(PlayheadError, match=words), joined(asked):
        pass
    with joined(HERE) as told:
        assert told == "Ray: 1 machine, 2 cores, 0 GPUs"


def killed_midway(folder, victim, work, job, beat):
    """Do the job, but take the worker's life in the middle of the first try at `victim`."""
    path = getattr(job, "source", None) or job.path
    name = path.rpartition("/")[2]
    with open(folder / name, "a") as begun:
        begun.write("begun\n")

    def tell(share):
        if name == victim and share > 0.4 and not (folder / "killed").exists():
            half = list(Path(job.scratch).rglob("*.*")) if hasattr(job, "scratch") else []
            (folder / "killed").write_text(json.dumps([file.stat().st_size for file in half]))
            os.kill(os.getpid(), signal.SIGKILL)
        beat(share)

    return work(job, tell)


@pytest.fixture
def on_cluster(tmp_path):
    """Give a `run` whose worker is killed in the middle of b, and a function that counts how often each was begun."""
    log = tmp_path / "log"
    log.mkdir()

    def run(work, jobs, progress):
        return run_on_cluster(partial(killed_midway, log, "b.mp4", work), jobs, progress, settings=HERE)

    def begun():
        return {path.name: len(path.read_text().splitlines()) for path in log.iterdir() if path.name != "killed"}

    return run, begun


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, num_frames in (("a", 30), ("b", 200), ("c", 40)):
        write_video(folder / f"{name}.mp4", num_frames=num_frames, options=X264)
    (folder / "broken.mp4").write_text("no video")
    return folder


def contents(folder):
    """Return the checksum of every file below a folder; of a manifest what it says."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock" and path.name != ".lock"]
    return {str(path.relative_to(folder)): hash_file(path) for path in files}


def test_a_transcode_whose_worker_is_killed_midway_is_what_an_undisturbed_one_is(videos, tmp_path, on_cluster):
    run, begun = on_cluster
    seen = []
    report = transcode([videos], tmp_path / "out", CHUNKS, seen.append, run)
    assert sum(json.loads((tmp_path / "log" / "killed").read_text())) > 0  # there was half a video
    assert begun() == {"a.mp4": 1, "b.mp4": 2, "c.mp4": 1, "broken.mp4": 1}
    assert sorted(path.rpartition("/")[2] for path in report.written) == ["a.mp4", "b.mp4", "c.mp4"]
    assert [path for path, _ in report.failed] == [str(videos / "broken.mp4")]
    assert (seen[-1].videos_done, seen[-1].failed, seen[-1].share, seen[-1].eta_seconds) == (4, 1, 1.0, 0.0)
    transcode([videos], tmp_path / "calm", CHUNKS, run=run_here)
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")
    again = transcode([videos], tmp_path / "out", CHUNKS, run=run)
    assert (again.written, len(again.skipped), len(again.failed)) == ((), 3, 1)
    assert begun() == {"a.mp4": 1, "b.mp4": 2, "c.mp4": 1, "broken.mp4": 2}


def test_features_whose_worker_is_killed_midway_are_there_once_and_a_run_that_was_ended_goes_on(
    videos, tmp_path, bundle, on_cluster
):
    run, begun = on_cluster
    windows, out = WindowSettings(batch_size=2), tmp_path / "out"

    def end_after_two(now):
        if now.videos_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(bundle, [videos], out, windows, elsewhere=Elsewhere(run, end_after_two))
    first = read_features(out)
    assert 0 < len(first.videos) <= 2
    seen = []
    report = extract_features(bundle, [videos], out, windows, elsewhere=Elsewhere(run, seen.append))
    assert (len(report.written), len(report.skipped)) == (3 - len(first.videos), len(first.videos))
    assert [path for path, _ in report.failed] == [str(videos / "broken.mp4")]
    assert seen[-1].share == 1.0
    assert (tmp_path / "log" / "killed").exists()
    assert sorted(path.name for path in out.glob("*.safetensors*")) == [f"{name}.safetensors" for name in "abc"]
    extract_features(bundle, [videos], tmp_path / "calm", windows)
    got, calm = read_features(out), read_features(tmp_path / "calm")
    assert got.videos == calm.videos
    for path in calm.videos:
        np.testing.assert_allclose(got.read(path).features, calm.read(path).features, rtol=1e-5, atol=1e-6)
        assert np.array_equal(got.read(path).spans, calm.read(path).spans)
    count = begun()
    assert len(extract_features(bundle, [videos], out, windows, elsewhere=Elsewhere(run)).skipped) == 3
    assert begun() == count | {"broken.mp4": count["broken.mp4"] + 1}


def test_the_words_of_the_command_line_do_it(videos, tmp_path, bundle_path, capsys):
    out, small = tmp_path / "out", tmp_path / "small"
    assert main(["extract", "--ray", "features", str(bundle_path), str(videos), "--out", str(out)]) == 0
    assert main(["extract", "--ray", "local", "--cpus", "2", "transcode", str(videos), "--out", str(small)]) == 0
    said = capsys.readouterr().out
    assert "Ray: 1 machine, 2 cores, 0 GPUs" in said
    assert "3 written, 0 there already, 1 failed" in said
    assert "3 written, 0 skipped, 1 failed, 0 removed" in said
    assert said.count("broken.mp4") == 2
    assert len(read_features(out).videos) == 3
    assert sorted(path.name for path in small.glob("*.mp4")) == ["a.mp4", "b.mp4", "c.mp4"]
