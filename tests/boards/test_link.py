"""The link at the pins, in front of a stand-in for the pipeline (test_board.py: the real one)."""

import numpy as np
import pytest

from boards import protocol
from boards.protocol import ANSWER, Fault, Frame, Identity, Kind
from boards.shell import Shell
from boards.uart import Uart
from tests.boards.conversation import converse
from tests.boards.standin import StandIn

SIDE, CLASSES, DIVISOR = 4, 5, 4
IDENTITY = Identity("wrn-8-1", SIDE, CLASSES, 1000, "0123456789abcdef" * 2)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)
IDENTIFY = Frame(Kind.IDENTIFY, 7)
PATIENCE = 200  # cycles
PAUSE = 400


def classify(image, sequence=1):
    return Frame(Kind.CLASSIFY, sequence, protocol.encode_image(image))


def ask(*script, answers, standin=None, ratio=2.17):
    """Answers of a link to ``script`` (frames, raw bytes, or silent cycles)."""
    standin = standin or StandIn(SIDE, CLASSES)
    shell = Shell(standin, IDENTITY, Uart(DIVISOR), 1000, PATIENCE)
    script = [protocol.encode(item) if isinstance(item, Frame) else item for item in script]
    return converse(shell, script, answers, DIVISOR, ratio), standin


def scores_of(frame):
    return protocol.decode_scores(frame.payload, CLASSES)


def is_right(frame, image, standin, sequence=1):
    scores, cycles = scores_of(frame)
    return (frame.kind == ANSWER + Kind.CLASSIFY and frame.sequence == sequence
            and scores == standin.compute(image).tolist() and cycles == standin.cycles())


def is_refusal(frame, fault):
    return frame.kind == Kind.ERROR and frame.payload == bytes([fault])


def test_says_what_it_is():
    (got,), _ = ask(IDENTIFY, answers=1)
    assert (got.kind, got.sequence) == (ANSWER + Kind.IDENTIFY, 7)
    assert Identity.decode(got.payload) == IDENTITY


@pytest.mark.parametrize("ratio", [0.31, 1.0, 2.5, 3.9])
@pytest.mark.parametrize("wait, stall", [(0, 0), (40, 0), (5, 3)])
def test_classifies_frames_back_to_back(wait, stall, ratio):
    got, standin = ask(*[classify(image, n) for n, image in enumerate(IMAGES)], IDENTIFY,
                       answers=4, standin=StandIn(SIDE, CLASSES, wait, stall), ratio=ratio)
    assert all(is_right(got[n], IMAGES[n], standin, n) for n in range(3))
    assert got[3].kind == ANSWER + Kind.IDENTIFY


def test_keeps_what_arrives_while_it_is_busy():
    """The second image arrives whole while the first is in the pipeline."""
    slow = StandIn(SIDE, CLASSES, wait=4_000)
    got, standin = ask(classify(IMAGES[0]), classify(IMAGES[1]), answers=2, standin=slow)
    assert is_right(got[0], IMAGES[0], standin) and is_right(got[1], IMAGES[1], standin)


GOOD = protocol.encode(classify(IMAGES[0]))


def damaged(at):
    wire = bytearray(GOOD)
    wire[at] ^= 0x04
    return bytes(wire)


BAD = {
    "header": ([damaged(3)], Fault.HEADER),
    "payload": ([damaged(30)], Fault.BODY),
    "crc": ([damaged(-1)], Fault.BODY),
    "short": ([GOOD[:30], PAUSE], Fault.LATE),
    "short header": ([GOOD[:4], PAUSE], Fault.LATE),
    "late": ([GOOD[:30], PAUSE, GOOD[30:]], Fault.LATE),
    "image too short": ([Frame(Kind.CLASSIFY, 1, bytes(3 * SIDE ** 2 - 1))], Fault.LENGTH),
    "image too long": ([Frame(Kind.CLASSIFY, 1, bytes(3 * SIDE ** 2 + 1))], Fault.LENGTH),
    "no image": ([Frame(Kind.CLASSIFY, 1)], Fault.LENGTH),
    "identify what": ([Frame(Kind.IDENTIFY, 1, b"?")], Fault.LENGTH),
    "unknown": ([Frame(0x55, 1, b"what")], Fault.KIND),
    "an answer": ([Frame(0x81, 1)], Fault.KIND),
    "unknown and long": ([Frame(0x55, 1, bytes(100))], Fault.KIND),
}


@pytest.mark.parametrize("bad, fault", BAD.values(), ids=BAD)
def test_a_bad_frame_is_refused_and_the_next_works(bad, fault):
    (no, yes), standin = ask(*bad, classify(IMAGES[1], 9), answers=2)
    assert is_refusal(no, fault)
    assert is_right(yes, IMAGES[1], standin, 9)


def test_a_damaged_image_never_enters_the_pipeline():
    """The stand-in's hash would carry a stray pixel on into the next image."""
    got, standin = ask(damaged(20), damaged(20), classify(IMAGES[2]), damaged(40),
                       classify(IMAGES[1]), answers=5)
    assert [frame.kind for frame in got] == [0xFF, 0xFF, 0x82, 0xFF, 0x82]
    assert is_right(got[2], IMAGES[2], standin) and is_right(got[4], IMAGES[1], standin)
