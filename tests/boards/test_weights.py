"""A design that streams its weights, on a virtual board with a memory chip: the host fills it."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from boards import host, protocol
from boards.client import Board, BoardError, Refused
from boards.identity import identity_of
from boards.protocol import CHUNK, LOAD_UNIT, Fault, Kind
from boards.ulx3s import Board as Kit
from boards.virtual import VirtualBoard
from boards.weights import WeightSource, weight_source
from gen.build import write_build
from hw.sdram_parts import PARTS, common_part
from sim.golden import Golden
from tests.boards import tiny

KIT = Kit.named("ulx3s-25f")
TIMEOUT = 60.0  # seconds


@pytest.fixture(scope="module")
def plan():
    """Two frames at a time: what the link sends is sometimes one."""
    plan = dataclasses.replace(tiny.plan(), weight_words=200, memory_mhz=400 / 3, batch=2)
    assert plan.schedule.loads
    return plan


@pytest.fixture(scope="module")
def weights(plan):
    return plan.contents.stream.tobytes()


@pytest.fixture
def port(plan, verilator, tmp_path_factory):
    """A board that was just switched on; compiled once."""
    folder = tmp_path_factory.getbasetemp() / "streamed"
    with VirtualBoard(plan.create(), identity_of(plan, 100), folder, patience=200_000,
                      weights=weight_source(plan, KIT, plan.memory_mhz)) as board:
        yield board.port


def refused(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.fault


def test_images_are_classified_once_the_weights_are_there(plan, port, weights):
    want = Golden(plan.package).run(tiny.IMAGES).scores
    with Board(port, timeout=TIMEOUT) as board:
        assert not board.ready()
        assert refused(board.classify, tiny.IMAGES[:1]) == Fault.WEIGHTS
        told = []
        board.load(weights, lambda done, total: told.append((done, total)))
        total = -(-len(weights) // LOAD_UNIT) * LOAD_UNIT
        assert told[-1] == (total, total) and len(told) == -(-total // CHUNK)
        for _ in range(2):                       # frame after frame, the stream goes round
            assert np.array_equal(board.classify(tiny.IMAGES).scores, want)
        board.load(b"other weights come too late")
        assert np.array_equal(board.classify(tiny.IMAGES).scores, want)


def test_weights_of_another_build_are_not_sent(port, weights):
    spoilt = bytearray(weights)
    spoilt[len(spoilt) // 2] ^= 4
    with Board(port, timeout=TIMEOUT) as board:
        crcs = [f"{zlib.crc32(protocol.padded(bytes(w))):08x}" for w in (spoilt, weights)]
        with pytest.raises(BoardError, match=r"weights \(CRC {}\) aren't those of the bitstream "
                                             r"in the board \(CRC {}\)".format(*crcs)):
            board.load(bytes(spoilt), lambda done, total: pytest.fail("some were sent"))
        board.load(weights)
        assert board.ready()


class Forgetful(Board):
    """Whose memory keeps a bit wrong: it's turned around on the way there."""

    def _load_chunk(self, payload):
        return super()._load_chunk(payload[:-1] + bytes([payload[-1] ^ 4]))


def test_a_memory_that_gives_back_other_weights_is_told_and_runs_nothing(port, weights):
    """Then the weights of a board whose memory was only partly filled."""
    with Forgetful(port, timeout=TIMEOUT) as board:
        with pytest.raises(BoardError, match="SDRAM gave back other weights than were sent; the "
                                             "memory or its clock fails"):
            board.load(weights)
        assert refused(board.classify, tiny.IMAGES[:1]) == Fault.WEIGHTS
    with Board(port, timeout=TIMEOUT) as board:
        board.load(weights)
        assert board.ready()


def test_chunks_may_come_in_any_order_and_twice(port, weights):
    weights = protocol.padded(weights)
    with Board(port, timeout=TIMEOUT) as board:
        starts = list(range(0, len(weights), 1024))
        for start in [*reversed(starts), starts[1]]:
            board._load_chunk(struct.pack("<I", start) + weights[start:start + 1024])
        assert board.ready()


def test_weights_that_come_before_the_memory_is_ready_are_refused(port, weights):
    """The chip's pause after power-up takes longer than some dozen words at this line's speed."""
    with Board(port, timeout=TIMEOUT) as board:
        chunk = bytes(4) + weights[:512]
        assert refused(board._receive, board._send(Kind.LOAD, chunk)) == Fault.BUSY
        assert not board.ready()                 # waits for the memory
        board._receive(board._send(Kind.LOAD, chunk))


def test_loads_of_a_wrong_length_are_refused(port):
    with Board(port, timeout=TIMEOUT) as board:
        for payload in (b"", bytes(4), bytes(4 + LOAD_UNIT - 1), bytes(LOAD_UNIT)):
            assert refused(board._receive, board._send(Kind.LOAD, payload)) == Fault.LENGTH
        assert refused(board._receive, board._send(Kind.CHECK, b"?")) == Fault.LENGTH


def test_the_host_program_loads_what_the_build_folder_holds(plan, port, tmp_path, capsys):
    write_build(plan, tmp_path / "build")
    Image.fromarray(tiny.IMAGES[0].transpose(1, 2, 0)).save(tmp_path / "image.png")
    command = ["--port", port, "--timeout", "60", str(tmp_path / "image.png")]
    assert host.main(command) == 2
    assert "waits for its weights; name its build folder with --build" in capsys.readouterr().err
    assert host.main([*command, "--build", str(tmp_path / "build")]) == 0
    said = capsys.readouterr()
    assert "bytes" in said.err
    best = tiny.NAMES[Golden(plan.package).run(tiny.IMAGES[:1]).scores[0].argmax()]
    assert f"image.png: {best}" in said.out
    assert host.main(command) == 0               # they are there already


def test_a_common_part_suits_every_chip():
    part = common_part(PARTS[name] for name in KIT.sdram)
    for name in KIT.sdram:
        other = PARTS[name]
        for field in dataclasses.fields(part):
            mine, its = (getattr(one, field.name) for one in (part, other))
            if field.name == "name":
                assert name in mine
            elif field.name in ("banks", "row_bits", "column_bits", "tras_max_ns", "mhz_cl2",
                                "mhz_cl3", "refresh_ms"):
                assert mine <= its
            else:
                assert mine >= its


def test_weights_beyond_the_memory_are_refused():
    part = dataclasses.replace(PARTS["AS4C16M16SA-7"], row_bits=11)
    with pytest.raises(ValueError, match="must hold 16,777,216 bytes of weights, not 8,388,608"):
        WeightSource(part, 100, 1 << 24)
