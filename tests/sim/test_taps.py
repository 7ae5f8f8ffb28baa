import numpy as np
import pytest

from gen.network import Network
from gen.package import Package
from sim.difference import describe, first_difference
from sim.golden import Golden
from sim.taps import FrameTaps, TapSorter, unpack

NET = Network(8, 1, side=16)
P, CR, CODE, RESIDUAL = 4, 8, 4, 13


def packed(values, bits):
    return sum((int(v) & (1 << bits) - 1) << i * bits for i, v in enumerate(values))


@pytest.fixture(scope="module")
def golden():
    images = np.random.default_rng(3).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    result = Golden(Package.random(NET, 2)).run(images, taps=True)
    return {name: m[0] for name, m in result.maps.items()}


def words(maps):
    """A frame's result words, as the design gives them; masked pixels hold rubbish."""
    for index, conv in enumerate(NET.convs):
        codes = maps[conv.name if conv.kind == "first" else conv.name + ".act"]
        for row in range(conv.out_side):
            for group in range(-(-conv.out_side // P)):
                for mask in (0b0011, 0b1100) if conv.stride == 2 else (0b1111,):
                    for piece in range(conv.cout // CR):
                        field = [np.full((P, CR), k) for k in (9, -5)]
                        for p in range(P):
                            if mask >> p & 1:
                                place = np.s_[piece * CR:(piece + 1) * CR, row, group * P + p]
                                field[0][p] = codes[place]
                                if conv.kind != "first":
                                    field[1][p] = maps[conv.name][place]
                        yield [index, row, group, piece, mask, packed(field[0].flat, CODE),
                               None if conv.kind == "first" else packed(field[1].flat, RESIDUAL)]


def verdict(frame, golden):
    taps = FrameTaps(NET, P, CR, CODE, RESIDUAL)
    for word in frame:
        taps.add(*word)
    return taps.first_difference(golden)


@pytest.mark.parametrize("bits, signed", [(1, False), (3, False), (4, False), (13, True),
                                          (12, True), (1, True)])
def test_unpack_inverts_packing(bits, signed):
    rng = np.random.default_rng(bits)
    low = -(1 << bits - 1) if signed else 0
    values = rng.integers(low, low + (1 << bits), (50, 7))
    got = unpack([packed(row, bits) for row in values], 7, bits, signed)
    assert got.dtype == np.int32 and (got == values).all()


def test_right_words_have_no_difference(golden):
    assert verdict(words(golden), golden) is None


@pytest.mark.parametrize("index, name", [(0, "stem.act"), (3, "g1b0c0"), (6, "g2b0c1.act")])
def test_a_wrong_code_is_found_where_it_is(golden, index, name):
    frame = list(words(golden))
    word = next(w for w in frame if w[0] == index and w[1] == 2 and w[3] == 1)
    word[5] ^= 1 << (1 * CR + 3) * CODE                       # pixel 1, channel 3 of the word
    found = verdict(frame, golden)
    assert (found["layer"], found["channel"], found["row"], found["column"]) == (
        name, CR + 3, 2, word[2] * P + 1)
    assert found["got"] == found["expected"] ^ 1 and found["differing"] == 1


def test_a_wrong_residual_is_found_and_named_before_its_codes(golden):
    frame = list(words(golden))
    frame[7][6] ^= 1 << RESIDUAL - 1                          # a sign
    frame[7][5] ^= 1
    found = verdict(frame, golden)
    assert found["layer"] == "stem" and abs(found["got"] - found["expected"]) == 1 << RESIDUAL - 1


def test_the_first_layer_in_running_order_is_named(golden):
    frame = list(words(golden))
    for word in frame:
        if word[0] in (4, 2, 5):
            word[5] ^= 1
    assert verdict(frame, golden)["layer"] == "g0b0c1.act"


def test_a_missing_word_is_found(golden):
    frame = list(words(golden))
    gone = frame.pop(len(frame) // 3)
    found = verdict(frame, golden)
    assert found["layer"] == NET.convs[gone[0]].name and found["got"] is None
    assert "got nothing" in describe(found)


def test_a_missing_layer_is_found(golden):
    found = verdict([w for w in words(golden) if w[0] != 4], golden)
    assert found["layer"] == "g1b0c1" and found["got"] is None


def test_a_word_written_twice_is_found_though_equal(golden):
    frame = list(words(golden))
    found = verdict([*frame, frame[-1]], golden)
    assert found["layer"] == "g2b0c1" and found["written"] == 2
    assert "written 2 times" in describe(found)


@pytest.mark.parametrize("field, value", [(1, 16), (2, 4), (3, 2)], ids=["row", "group", "slice"])
def test_a_word_outside_the_map_is_found(golden, field, value):
    frame = list(words(golden))
    frame[5][field] = value
    found = verdict(frame, golden)
    assert found["layer"] == "stem" and found["got"] == "a write outside the map"


def test_words_of_no_layer_are_found(golden):
    frame = list(words(golden))
    frame.append([7, 0, 0, 0, 15, 0, 0])
    assert verdict(frame, golden)["layer"] == "tap layer 7"


@pytest.mark.parametrize("late", [1, 3])
def test_words_of_frames_under_way_are_sorted(golden, late):
    """The last layers of a frame come behind the first ones of the next frame of its number, or
    where that's absent without them."""
    frame, names = list(words(golden)), len(NET.convs)
    first = [word for word in frame if word[0] < 3]
    middle = [word for word in frame if 3 <= word[0] < names - late]
    last = [word for word in frame if word[0] >= names - late]
    sorter = TapSorter(lambda: FrameTaps(NET, P, CR, CODE, RESIDUAL))
    there = [(1, 1), (1, 0), (0, 1), (1, 1), (0, 0)]
    for before, now in zip([(0, 0), *there], there):
        parts = [(now[0], 0, first), *((before[k], k, last) for k in (0, 1)),
                 (now[1], 1, first), *((now[k], k, middle) for k in (0, 1))]
        for real, number, part in parts:
            for word in part if real else ():
                sorter.add(number, *word)
    assert len(sorter.frames) == sum(map(sum, there))
    assert [taps.first_difference(golden) for taps in sorter.frames] == [None] * 6


def test_masked_pixels_do_not_matter(golden):
    frame = list(words(golden))
    word = next(w for w in frame if w[4] == 0b1100)
    word[5] ^= (1 << 2 * CR * CODE) - 1
    assert verdict(frame, golden) is None


def test_differences_read_as_sentences():
    found = first_difference("scores", [1, 2, 3], [1, 5, 3])
    assert describe(found) == ("first difference at scores, class 1: expected 2, got 5 "
                               "(1 of 3 differ)")
    found = first_difference("stem", np.zeros((2, 2, 2), int), np.eye(8, dtype=int)[5].reshape(
        2, 2, 2))
    assert describe(found) == ("first difference at stem, channel 1, row 0, column 1: expected 0, "
                               "got 1 (1 of 8 differ)")
    assert first_difference("stem", [[1]], [[1]]) is None
    assert first_difference("stem", [1, 2], [1])["got"] == [1]
