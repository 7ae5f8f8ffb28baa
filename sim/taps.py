"""Result words of the tap ports back into maps."""

import numpy as np

from .difference import first_difference

__all__ = ["FrameTaps", "TapSorter", "unpack"]


def unpack(words, count, bits, signed=False):
    """Elements of packed words: ``int32[len(words), count]``.

    ``words`` are Python integers of ``count`` elements of ``bits`` bits, lowest first.
    """
    size = (count * bits + 7) // 8
    raw = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), np.uint8)
    raw = np.unpackbits(raw.reshape(len(words), size), axis=1, bitorder="little")
    raw = raw[:, :count * bits].reshape(len(words), count, bits)
    values = raw.astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))
    return values - ((values >> bits - 1) << bits) if signed else values


class FrameTaps:
    """Collects one frame's result words and compares them with the golden maps.

    Parameters
    ----------
    network : Network
    pixels, channels : int
        Pixels and channels of a result word.
    code_bits, residual_bits : int
        Bits of an element on the tap ports.
    """

    def __init__(self, network, pixels, channels, code_bits, residual_bits):
        self.network, self.pixels, self.channels = network, pixels, channels
        self.code_bits, self.residual_bits = code_bits, residual_bits
        self.words = {}

    def add(self, layer, row, group, piece, mask, codes, residual):
        """A result word, every field as an integer; ``residual`` None for first convolutions."""
        self.words.setdefault(layer, []).append((row, group, piece, mask, codes, residual))

    def first_difference(self, golden):
        """First difference, in running order, from the maps of :class:`sim.golden.Result` for one
        image (``{name: int[c, h, w]}``), or None."""
        for index, conv in enumerate(self.network.convs):
            words = self.words.get(index, [])
            if conv.kind == "first":
                views = [(conv.name, 4, self.code_bits, False)]
            else:
                views = [(conv.name, 5, self.residual_bits, True),
                         (conv.name + ".act", 4, self.code_bits, False)]
            for name, field, bits, signed in views:
                got, written, stray = self._map(conv, words, field, bits, signed)
                found = stray or first_difference(name, golden[name], got, written)
                if found:
                    return {**found, "layer": name}
        stray = set(self.words) - set(range(len(self.network.convs)))
        if stray:
            return {"layer": f"tap layer {min(stray)}", "expected": "no such layer",
                    "got": f"{len(self.words[min(stray)])} words"}
        return None

    def _map(self, conv, words, field, bits, signed):
        """``(map, times written, difference)`` of a layer; the last where a word lies outside."""
        side, p, c = conv.out_side, self.pixels, self.channels
        got = np.zeros((conv.cout, side, side), np.int32)
        written = np.zeros((conv.cout, side, side), np.int32)
        if not words:
            return got, written, None
        row, group, piece, mask = np.array([word[:4] for word in words]).T
        values = unpack([word[field] for word in words], p * c, bits, signed)
        values = values.reshape(-1, p, c)
        word, pixel = np.nonzero(mask[:, None] >> np.arange(p) & 1)
        rows, columns = row[word], group[word] * p + pixel
        channels = piece[word][:, None] * c + np.arange(c)
        outside = (rows >= side) | (columns >= side) | (channels[:, -1] >= conv.cout)
        if outside.any():
            k = int(np.argmax(outside))
            return got, written, {
                "channel": int(channels[k, 0]), "row": int(rows[k]), "column": int(columns[k]),
                "expected": f"at most channel {conv.cout - 1}, row and column {side - 1}",
                "got": "a write outside the map", "differing": int(outside.sum()) * c,
                "elements": got.size}
        place = (channels, rows[:, None], columns[:, None])
        got[place] = values[word, pixel]
        np.add.at(written, place, 1)
        return got, written, None


class TapSorter:
    """Sorts result words into frames, of which two of each number may be under way: one in its
    first layers, the one before it in its last.

    Parameters
    ----------
    new : callable
        Makes a :class:`FrameTaps`.

    Members
    -------
    frames : list of FrameTaps
        In the order in which the frames began.
    """

    def __init__(self, new):
        self.new, self.frames, self.current = new, [], {}

    def add(self, frame, layer, *word):
        """A result word of a frame of the round; the rest is :meth:`FrameTaps.add`'s."""
        under_way = self.current.setdefault(frame, [])     # newest first, each with its last layer
        # Layers come one after the other: what would skip some belongs to the frame before.
        place = next((k for k, (_, last) in enumerate(under_way) if layer - last in (0, 1)), None)
        if place is None:
            place = 0
            under_way.insert(0, (self.new(), layer))
            self.frames.append(under_way[0][0])
            del under_way[2:]
        taps, _ = under_way[place]
        under_way[place] = taps, layer
        taps.add(layer, *word)
