"""The command itself: it starts, tells where, answers, and ends when it is told to."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from playhead.apps.web import command

TOKEN = "0123456789abcdef"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_serve_tells_its_address_answers_and_ends_on_an_interrupt(web_collection):
    arguments = [sys.executable, "-m", "playhead.cli", "serve", str(web_collection.store.path), "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PLAYHEAD_TOKEN": TOKEN}
    run = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert run.stdout is not None
        found = re.match(r"(http://127\.0\.0\.1:\d+) \(press Ctrl-C", run.stdout.readline())
        assert found
        asked = urllib.request.Request(f"{found[1]}/api/v1/search?q=red", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer)["matches"] is True
        run.send_signal(signal.SIGINT)
        _, complaints = run.communicate(timeout=30)
        assert run.returncode in (0, 130) and "Traceback" not in complaints
    finally:
        run.kill()
        run.communicate()


def test_settings_of_the_command_are_checked():
    with pytest.raises(ValueError, match="`watch` must be above zero"):
        command.Serve(index="x", watch=0.0)
