"""SIGTERM ends a wait at once, and only marks everything else."""

import os
import signal
import time

import pytest

from playhead.train.stopping import StopAskedError, stop_on_sigterm


def terminate_this_process():
    os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_a_wait_it_is_only_noted_and_the_next_wait_does_not_begin():
    with stop_on_sigterm() as stop:
        terminate_this_process()
        assert stop.asked
        with pytest.raises(StopAskedError), stop.interrupting():
            pytest.fail("waited")


def test_a_wait_is_ended_and_what_was_there_before_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        with pytest.raises(StopAskedError), stop.interrupting():
            terminate_this_process()
            time.sleep(100)
        terminate_this_process()  # once more, while the run saves
    assert signal.getsignal(signal.SIGTERM) == before
