"""The words after `playhead extract`: where the address may be left out, and what is refused before Ray is asked."""

import socket
import sys
from types import SimpleNamespace

import pytest
import tyro

from playhead.apps.cluster import ClusterSettings
from playhead.apps.commands import ClipFeatures, Transcode
from playhead.apps.extract import Extract, with_address
from playhead.apps.transcode import TranscodeSettings
from playhead.cli import COMMANDS, main
from playhead.errors import RecipeError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("extract --ray features b v", "extract --ray auto features b v"),
        ("extract --ray --cpus 2 transcode v", "extract --ray auto --cpus 2 transcode v"),
        ("extract --ray", "extract --ray auto"),
        ("extract --cpus 2 --ray node1:6379 features b v", "extract --cpus 2 --ray node1:6379 features b v"),
        ("extract --ray=local features b v", "extract --ray=local features b v"),
        ("extract features b v", "extract features b v"),
        ("features --ray", "features --ray"),
    ],
)
def test_an_address_that_is_left_out_is_that_of_the_cluster_of_this_machine(given, read):
    assert with_address(given.split()) == read.split()


def parse(line):
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, args=with_address(line.split()))


def test_what_a_video_gets_stands_before_the_word_and_what_is_done_after_it():
    command = parse("extract --ray --gpus 0.5 clip-features b nlq.json --videos v --out o --grid own --batch-size 4")
    assert isinstance(command, Extract)
    assert command.cluster == ClusterSettings(address="auto", gpus=0.5)
    assert isinstance(command.work, ClipFeatures)
    assert (command.work.settings.grid, command.work.settings.windows.batch_size) == ("own", 4)
    command = parse("extract --ray node1:6379 transcode v --out o --chunk-seconds 600")
    assert isinstance(command.work, Transcode)
    assert command.cluster.address == "node1:6379"
    assert command.work.settings == TranscodeSettings(chunk_seconds=600)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("extract --ray transcode v --out o --workers 4", "--workers is for the processes of one machine"),
        ("extract --ray transcode v --out o --stall-seconds 9", "--stall-seconds is for the processes of one machine"),
        ("extract --ray features b v --out o --decoders 2", "--decoders is for the processes of one machine"),
        ("extract --ray --cpus 0 features b v --out o", "--cpus needs to be above 0, got 0"),
        ("extract --ray --gpus -1 features b v --out o", "--gpus needs not to be negative, got -1"),
        ("extract --ray --attempts 0 features b v --out o", "--attempts needs at least 1, got 0"),
        ("extract --ray --stall-seconds 0 features b v --out o", "--stall-seconds needs to be above 0"),
    ],
)
def test_options_that_do_not_fit_a_cluster_are_refused(line, words):
    with pytest.raises(RecipeError, match=words):
        parse(line)


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["extract", "--ray", "transcode", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "playhead: Ray is not installed here; install playhead[ray], on every machine.\n"
    assert not (tmp_path / "out").exists()


def test_an_address_where_nobody_answers_is_named_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with socket.socket() as nobody:  # bound, so that no other process takes it, but not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert main(["extract", "--ray", address, "transcode", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"playhead: no Ray cluster answers at '{address}' (")
    assert not (tmp_path / "out").exists()
