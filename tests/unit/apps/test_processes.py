"""Jobs in processes: one that dies, stalls or raises takes only itself along."""

import os
import signal
import sys
import time
from contextlib import closing

import pytest

from playhead.apps.processes import Done, Failed, run_here, run_in_processes
from playhead.errors import DecodeError, PlayheadError


def work(job, beat):
    """Do what the job's name says."""
    beat(0.25)
    match job:
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            os._exit(3)
        case "stall":
            time.sleep(60)
        case "raise":
            raise DecodeError("is broken.", path="a.mp4", time=1.0)
        case "stumble":
            raise KeyError("x")
        case "full":
            raise OSError(28, "No space left on device", "out.mp4")
        case "end of file":
            raise EOFError("no more packets")
        case "alive":
            for _ in range(8):
                time.sleep(0.5)
                beat(0.5)
    return f"{job} done"


@pytest.mark.slow
def test_whatever_a_job_does_the_others_are_done():
    jobs = ["a", "die", "b", "raise", "stumble", "full", "end of file", "leave", "stall", "alive", "c"]
    heard = []
    outcomes = list(run_in_processes(work, jobs, lambda *what: heard.append(what), workers=2, stall_seconds=2.0))
    assert sorted(outcome.job for outcome in outcomes) == sorted(jobs)
    done = {outcome.job: outcome.result for outcome in outcomes if isinstance(outcome, Done)}
    failed = {outcome.job: outcome for outcome in outcomes if isinstance(outcome, Failed)}
    assert done == {job: f"{job} done" for job in ("a", "b", "c", "alive")}
    assert failed["die"].reason == "the process that worked at it died (SIGSEGV)."
    assert failed["leave"].reason == "the process that worked at it died (exit code 3)."
    assert failed["stall"].reason == "nothing went on for 2 s, so it was given up."
    assert (failed["raise"].error.problem, failed["raise"].error.time) == ("is broken.", 1.0)
    assert failed["raise"].reason == "a.mp4, at 1.00 s: is broken."
    assert failed["stumble"].reason == "KeyError: 'x'"
    assert failed["full"].error.errno == 28
    assert failed["end of file"].reason == "EOFError: no more packets"
    assert ("alive", 0.25) in heard


@pytest.mark.slow
def test_whoever_stops_listening_stops_the_processes():
    with closing(run_in_processes(work, ["a", "stall"], workers=2, stall_seconds=99.0)) as outcomes:
        assert next(outcomes) == Done("a", "a done")
        began = time.monotonic()
    assert time.monotonic() - began < 20


def not_for_children(job, beat):
    """Stand for a function that the new process cannot find."""


@pytest.mark.slow
def test_a_process_that_cannot_start_is_an_error_and_no_broken_job(monkeypatch):
    monkeypatch.setattr(not_for_children, "__module__", "no_such_module")
    monkeypatch.setitem(sys.modules, "no_such_module", sys.modules[__name__])
    with pytest.raises(PlayheadError, match="a worker process could not start"):
        list(run_in_processes(not_for_children, ["a"], workers=1, stall_seconds=99.0))


def test_the_same_jobs_can_be_done_here():
    heard = []
    outcomes = list(run_here(work, ["a", "raise", "b"], lambda *what: heard.append(what)))
    assert [type(outcome) for outcome in outcomes] == [Done, Failed, Done]
    assert outcomes[1].error.problem == "is broken."
    assert heard == [("a", 0.25), ("raise", 0.25), ("b", 0.25)]
