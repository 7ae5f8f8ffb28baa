"""The host program against ports that misbehave (test_board.py has one that works)."""

import contextlib
import json
import os
import threading
import time
import tty

import numpy as np
import pytest
from PIL import Image

from boards import host, protocol
from boards.client import Board
from boards.host import main
from boards.protocol import ANSWER, Fault, Frame, Identity, Kind

SIDE, CLASSES = 8, 3
IDENTITY = Identity("wrn-8-1", SIDE, CLASSES, 100_000, "0123456789abcdef" * 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, SIDE, SIDE), dtype=np.uint8)


def answer(frame, cycles=5000):
    """What a good board would say; the scores are the image's first three bytes."""
    if frame.kind == Kind.IDENTIFY:
        return Frame(ANSWER + frame.kind, frame.sequence, IDENTITY.encode())
    return Frame(ANSWER + frame.kind, frame.sequence,
                 protocol.encode_scores(frame.payload[:CLASSES], cycles))


@contextlib.contextmanager
def port(reply):
    """Name of a port where ``reply(frame, n)`` makes the bytes that answer the n-th question."""
    master, slave = os.openpty()
    tty.setraw(slave)
    stop_out, stop_in = os.pipe()

    def serve():
        import select
        count = 0

        def read(length):
            data = b""
            while len(data) < length:
                ready, _, _ = select.select([master, stop_out], [], [])
                if stop_out in ready:
                    return data
                data += os.read(master, length - len(data))
            return data

        while (frame := protocol.decode(read)) is not None:
            os.write(master, reply(frame, count))
            count += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        os.write(stop_in, b"x")
        thread.join()
        for handle in (master, slave, stop_out, stop_in):
            os.close(handle)


def good(frame, _):
    return protocol.encode(answer(frame))


def damaged(frame, count):
    wire = bytearray(protocol.encode(answer(frame)))
    if count:
        wire[-6] ^= 1
    return bytes(wire)


def test_classifies():
    with port(good) as name, Board(name) as board:
        assert board.identity == IDENTITY
        answers = board.classify(IMAGES)
    np.testing.assert_array_equal(answers.scores, IMAGES[:, :, 0, 0])
    np.testing.assert_array_equal(answers.classes, IMAGES[:, :, 0, 0].argmax(axis=1))
    assert answers.cycles.tolist() == [5000] * 6


def test_no_images_make_no_answers():
    with port(good) as name, Board(name) as board:
        answers = board.classify(IMAGES[:0])
    assert answers.scores.shape == (0, CLASSES) and answers.cycles.shape == (0,)


def test_throughput_is_measured():
    with port(good) as name, Board(name) as board:
        measured = board.throughput(8)
    assert measured["frames"] == 8 and measured["cycles"] == 5000
    assert measured["chip_fps"] == 20_000
    assert measured["line_fps"] == pytest.approx(8 / measured["seconds"])


@pytest.mark.parametrize("cycles, ahead", [(5000, 1), (2_000_000, 0)])
def test_the_next_image_is_sent_ahead_where_the_board_can_keep_it(cycles, ahead):
    def reply(frame, _):
        return protocol.encode(answer(frame, cycles))
    with port(reply) as name, Board(name) as board:
        assert len(board.classify(IMAGES).cycles) == len(IMAGES)
        assert board._ahead == ahead


def test_a_check_may_take_as_long_as_the_flash():
    def reply(frame, count):
        if frame.kind == Kind.CHECK:
            time.sleep(1)
        return good(frame, count)
    with port(reply) as name, Board(name, timeout=0.3) as board:
        board.ready()


def test_late_answers_to_older_questions_are_skipped():
    def reply(frame, count):
        old = Frame(ANSWER + Kind.CLASSIFY, (frame.sequence + 200) % 256, b"old")
        return protocol.encode(old) + good(frame, count)
    with port(reply) as name, Board(name) as board:
        assert board.classify(IMAGES[:1]).cycles.tolist() == [5000]


@pytest.mark.parametrize("reply, words", [
    (lambda frame, _: b"", "gave no answer within 0.3 s; is the board configured"),
    (lambda frame, _: b"hello, world", "held no start of a frame"),
    (lambda frame, n: good(frame, n)[:-3], "stopped 3 bytes short in its CRC"),
    (damaged, "payload arrived damaged"),
    (lambda frame, _: protocol.encode(Frame(Kind.ERROR, frame.sequence, bytes([Fault.BODY]))),
     "refused the question: the frame's payload arrived damaged"),
    (lambda frame, _: protocol.encode(Frame(Kind.ERROR, 0, b"\x63")), "reason 63, unknown"),
    (lambda frame, _: protocol.encode(Frame(frame.kind + ANSWER, frame.sequence, b"\x03" * 40)),
     "version 3 of the protocol, this program version 2"),
    (lambda frame, n: protocol.encode(Frame(frame.kind + ANSWER, frame.sequence, b"?" * 9))
     if n else good(frame, n), "held 9 bytes, not the 16 of 3 scores"),
], ids=["silent", "noise", "short", "damaged", "refused", "unknown reason", "other version",
        "scores missing"])
def test_a_bad_answer_is_one_sentence_and_exit_code_2(reply, words, capsys, tmp_path):
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "x.png")
    with port(reply) as name:
        code = main(["--port", name, "--timeout", "0.3", str(tmp_path / "x.png")])
    said = capsys.readouterr()
    assert code == 2 and words in said.err and said.err.count("\n") == 1 and not said.out


def test_an_absent_port_is_one_sentence(capsys):
    assert main(["--port", "/dev/ttyNOBOARD"]) == 2
    assert "/dev/ttyNOBOARD doesn't exist; serial ports here:" in capsys.readouterr().err


@pytest.mark.parametrize("option, value", [
    ("--baud", "0"), ("--baud", "99999999999"), ("--timeout", "1e12"), ("--timeout", "nan"),
    ("--throughput", "-5"), ("--throughput", "0")])
def test_numbers_without_sense_are_refused(option, value, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--port", "/dev/null", option, value])
    assert caught.value.code == 2 and f"argument {option}: must be" in capsys.readouterr().err


def test_a_port_that_is_none_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["--port", str(tmp_path / "file")]) == 2
    assert "can't be opened at 2000000 baud" in capsys.readouterr().err


def test_a_missing_pyserial_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "serial", None)
    assert main(["--port", "/dev/ttyUSB0"]) == 2
    assert "run `pip install pyserial`" in capsys.readouterr().err


def test_pictures_of_another_size_are_resized_if_asked_for(capsys, tmp_path):
    picture = tmp_path / "x.png"
    Image.fromarray(IMAGES[0].transpose(1, 2, 0).repeat(2, 0).repeat(3, 1)).save(picture)
    with port(good) as name:
        assert main(["--port", name, str(picture)]) == 2
        assert (f"needs images of {SIDE}x{SIDE} pixels, not {3 * SIDE}x{2 * SIDE}; --resize"
                in capsys.readouterr().err)
        assert main(["--port", name, "--resize", "--json", str(picture)]) == 0
        assert main(["--port", name, str(tmp_path / "y.png")]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["images"][0]["scores"] == IMAGES[0, :, 0, 0].tolist()
    assert "y.png: no such file" in said.err and said.err.count("\n") == 1


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit):
        host.main(["--help"])
    assert capsys.readouterr().out == bare
    assert bare.rstrip().splitlines()[-1].startswith("  python -m boards.host --port")
