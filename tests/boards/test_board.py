"""The whole board, real pipeline included, under Verilator: the host program at its serial port."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import serial
from PIL import Image

from boards import protocol
from boards.client import Board, BoardError
from boards.identity import identity_of
from boards.protocol import ANSWER, Fault, Frame, Kind
from boards.virtual import VirtualBoard
from sim.golden import Golden
from tests.boards import tiny

PATIENCE = 200_000  # cycles: longer than the program waits for a byte, shorter than a test
TIMEOUT = 30.0  # seconds


@pytest.fixture(scope="module")
def plan():
    return tiny.plan()


@pytest.fixture(scope="module")
def golden(plan):
    return Golden(plan.package).run(tiny.IMAGES).scores


@pytest.fixture(scope="module")
def port(plan, verilator, tmp_path_factory):
    with VirtualBoard(plan.create(), identity_of(plan, 100), tmp_path_factory.mktemp("virtual"),
                      patience=PATIENCE) as board:
        yield board.port


@pytest.fixture(scope="module")
def build(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    tiny.save(plan, folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for n, image in enumerate(tiny.IMAGES):
        paths.append(folder / f"{n}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    return paths


def host(port, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "boards.host", "--port", port, "--timeout", str(TIMEOUT),
         *map(str, arguments)], capture_output=True, text=True, check=False)


def test_identity_is_the_plan_s(port, plan):
    with Board(port, timeout=TIMEOUT) as board:
        assert board.identity == identity_of(plan, 100)
        assert board.identity.class_names == tiny.NAMES and board.identity.digest == plan.digest


def test_scores_equal_golden_and_cycles_the_plan(port, plan, golden):
    with Board(port, timeout=TIMEOUT) as board:
        answers = board.classify(tiny.IMAGES)
    np.testing.assert_array_equal(answers.scores, golden)
    assert set(answers.cycles.tolist()) == {plan.latency_cycles}


def test_the_host_program_prints_scores(port, build, pictures, plan, golden):
    done = host(port, "--build", build, "--json", *pictures)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [image["scores"] for image in report["images"]] == golden.tolist()
    assert [image["class_name"] for image in report["images"]] == [
        tiny.NAMES[j] for j in golden.argmax(axis=1)]
    assert {image["cycles"] for image in report["images"]} == {plan.latency_cycles}
    said = host(port, "--throughput", 5, pictures[0]).stdout
    assert "wrn-8-1 on" in said and "straight on" in said and "5 frames in" in said


@contextlib.contextmanager
def raw(port):
    with serial.Serial(port, 115200, timeout=TIMEOUT) as line:
        yield line


def test_bad_frames_are_refused_and_the_next_works(port, golden):
    good = [protocol.encode(Frame(Kind.CLASSIFY, n, protocol.encode_image(image)))
            for n, image in enumerate(tiny.IMAGES)]
    damaged = bytearray(good[0])
    damaged[70] ^= 0x20
    with raw(port) as line:
        for bad, fault in ((damaged, Fault.BODY), (good[0][:90], Fault.LATE),
                           (protocol.encode(Frame(0x40, 0)), Fault.KIND),
                           (protocol.encode(Frame(Kind.CLASSIFY, 0, b"short")), Fault.LENGTH)):
            line.write(bad)
            refusal = protocol.decode(line.read)
            assert (refusal.kind, refusal.payload) == (Kind.ERROR, bytes([fault]))
            line.write(good[1] + good[2])
            for n in (1, 2):
                answer = protocol.decode(line.read)
                assert (answer.kind, answer.sequence) == (ANSWER + Kind.CLASSIFY, n)
                assert protocol.decode_scores(answer.payload, 3)[0] == golden[n].tolist()


def test_a_program_that_was_stopped_doesn_t_harm_the_next(port, golden):
    wire = protocol.encode(Frame(Kind.CLASSIFY, 0, protocol.encode_image(tiny.IMAGES[0])))
    with raw(port) as line:
        line.write(wire[:150])
    with Board(port, timeout=TIMEOUT) as board:
        assert board.classify(tiny.IMAGES[:1]).scores.tolist() == golden[:1].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_pauses_in_a_frame_are_forgiven(port, golden, seed):
    rng = np.random.default_rng(seed)
    wire = protocol.encode(Frame(Kind.CLASSIFY, 0, protocol.encode_image(tiny.IMAGES[seed])))
    with raw(port) as line:
        at = 0
        while at < len(wire):
            count = int(rng.integers(1, 80))
            line.write(wire[at:at + count])
            at += count
            time.sleep(0.001 * int(rng.integers(3)))
        answer = protocol.decode(line.read)
        assert protocol.decode_scores(answer.payload, 3)[0] == golden[seed].tolist()


def test_another_build_is_refused(port, plan, tmp_path):
    other = dataclasses.replace(plan, clock_mhz=plan.clock_mhz + 1)
    tiny.save(other, tmp_path)
    done = host(port, "--build", tmp_path)
    assert done.returncode == 2
    assert f"runs build {plan.digest[:8]} (wrn-8-1), not {other.digest[:8]}" in done.stderr


def test_an_image_of_another_size_is_refused(port, tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    done = host(port, tmp_path / "wide.png")
    assert done.returncode == 2 and "images of 8x8 pixels, not 9x8" in done.stderr
    with Board(port, timeout=TIMEOUT) as board:
        with pytest.raises(BoardError, match=r"uint8\[n, 3, 8, 8\] .*, not uint8\[1, 3, 16, 16\]"):
            board.classify(np.zeros((1, 3, 16, 16), np.uint8))


def test_a_missing_build_is_refused(port, tmp_path):
    done = host(port, "--build", tmp_path)
    assert done.returncode == 2 and "holds no plan.json" in done.stderr
