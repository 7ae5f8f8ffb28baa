"""±1 dot product with accumulator: the arithmetic core.

With ``u`` an unsigned code and an inversion bit set where the weight is -1, the array adds
``u`` or ``2**b - 1 - u``: an unsigned sum, whose distance from the signed one is a constant per
output channel (:mod:`gen.layout` folds it into the result's rounding constant).
"""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .carry import ACCUMULATE, ADD, ADD_XOR, CarryChain
from .target import has_carry_cells

__all__ = ["ADDERS_PER_CHAIN", "Dot", "DotUnit"]

ADDERS_PER_CHAIN = 8


@dataclass(frozen=True)
class Dot:
    """``acc = (acc, acc << bits or 0) + sum(u ^ inversion)`` over ``lanes`` codes of ``bits`` bits.

    Parameters
    ----------
    lanes : int
        Products per cycle.
    bits : int
        Of a code; also the shift between the digits of a pixel.
    acc_bits : int
        Of the accumulator, which wraps.
    blocks : int
        Blocks of consecutive lanes whose codes come from one place. Where it's worth it a block
        has carry chains of its own: they can lie beside its codes, and only its sum travels.
    """

    lanes: int
    bits: int
    acc_bits: int
    blocks: int = 1

    @property
    def registered(self):
        """For every level of the adder tree whether registers follow: the first, whose wires are
        the longest, each second one from there, and the last.

        Two adders that lie beside each other take half a clock cycle, and a quarter of all the
        flip-flops of WRN-20-4 on 6,144 lanes stood between them.
        """
        count = ceil_log2(self.lanes)
        return [level % 2 == 0 or level == count - 1 for level in range(count)]

    @property
    def latency(self):
        """Cycles from codes to captured result: the tree's registers, the result's."""
        return sum(self.registered) + 1

    def levels(self):
        """The adder tree, level by level: ``(term, term, block)`` for each sum, terms being
        numbered as they come out of the level before; a term without a partner goes on alone,
        ``(term, None, block)``. Sums of a block have carry chains of their own, those of ``None``
        are between blocks, or all of them where a block's would leave most of a chain empty."""
        size = self.lanes // self.blocks
        blocks = [lane // size if size >= ADDERS_PER_CHAIN else None for lane in range(self.lanes)]
        found = []
        while len(blocks) > 1:
            level = [(i, i + 1, blocks[i] if blocks[i] == blocks[i + 1] else None)
                     for i in range(0, len(blocks) - 1, 2)]
            if len(blocks) % 2:
                level.append((len(blocks) - 1, None, blocks[-1]))
            found.append(level)
            blocks = [block for _, _, block in level]
        return found

    def compute(self, x, invert):
        """Sum that one step adds: ``x`` int[..., lanes], ``invert`` bool[..., lanes]."""
        top = (1 << self.bits) - 1
        return (x ^ (invert * top)).sum(-1)

    @property
    def signature(self):
        """Ports of the gateware, see :class:`DotUnit`."""
        return wiring.Signature({
            "x": In(data.ArrayLayout(self.bits, self.lanes)), "invert": In(self.lanes),
            "shift": In(1), "clear": In(1), "capture": In(1), "result": Out(self.acc_bits)})

    def create(self):
        """Gateware for these numbers."""
        return DotUnit(self)


class DotUnit(wiring.Component):
    """Gateware for :class:`Dot`.

    Members
    -------
    x : ``In(ArrayLayout(bits, lanes))``
        Codes of a step.
    invert : ``In(lanes)``
        Bit set where the weight is -1.
    shift, clear, capture : In
        With the same timing as the *sum* of the step (``latency - 1`` cycles after ``x``):
        shift the accumulator by a digit before adding; start at 0 in the next cycle; keep the sum
        in ``result``.
    result : ``Out(acc_bits)``
        The accumulated sum at the last ``capture``.
    """

    def __init__(self, dot):
        self.dot = dot
        super().__init__(dot.signature)

    def elaborate(self, platform):
        m = Module()
        acc = Signal(self.dot.acc_bits, reset_less=True)
        body = self._carry_cells if has_carry_cells(platform) else self._words
        total = body(m, acc)
        m.d.sync += acc.eq(Mux(self.clear, 0, total))
        with m.If(self.capture):
            m.d.sync += self.result.eq(total)
        return m

    def _words(self, m, acc):
        terms = [self.x[i] ^ self.invert[i].replicate(self.dot.bits)
                 for i in range(self.dot.lanes)]
        while len(terms) > 1:
            terms = [sum(terms[i:i + 2], Const(0, 0)) for i in range(0, len(terms), 2)]
        added = terms[0]
        for _ in range(self.dot.latency - 1):
            held = Signal(added.shape(), reset_less=True)
            m.d.sync += held.eq(added)
            added = held
        total = Signal(self.dot.acc_bits)
        m.d.comb += total.eq(Mux(self.shift, acc << self.dot.bits, acc) + added)
        return total

    def _carry_cells(self, m, acc):
        dot, chains = self.dot, {}

        def chain(block=None):
            """The chain for the next adder of ``block``, or of several blocks."""
            of_block = chains.setdefault(block, [])
            if not of_block or of_block[-1].adders == ADDERS_PER_CHAIN:
                of_block.append(CarryChain())
            return of_block[-1]

        def held(value):
            register = Signal(len(value), reset_less=True)
            m.d.sync += register.eq(value)
            return register

        terms, first = [self.x[i] for i in range(dot.lanes)], True
        if dot.lanes == 1:
            raise ValueError("Lanes must be at least 2, not 1")
        for level, registered in zip(dot.levels(), dot.registered):
            sums = []
            for i, j, block in level:
                if j is None:
                    odd = terms[i]
                    if first:
                        odd = odd ^ self.invert[i].replicate(dot.bits)
                    sums.append(odd)
                    continue
                a, b = terms[i], terms[j]
                width = max(len(a), len(b))
                bits_a, bits_b = ([v[k] if k < len(v) else Const(0) for k in range(width)]
                                  for v in (a, b))
                if first:
                    pins = (bits_a, [self.invert[i]] * width, bits_b, [self.invert[j]] * width)
                else:
                    pins = (bits_a, bits_b, [Const(0)] * width, [Const(1)] * width)
                sums.append(chain(block).add(ADD_XOR if first else ADD, *pins,
                                             first=not registered))
            terms, first = [held(total) for total in sums] if registered else sums, False
        added = terms[0]
        bits = [added[k] if k < len(added) else Const(0) for k in range(dot.acc_bits)]
        shifted = [acc[k - dot.bits] if k >= dot.bits else Const(0) for k in range(dot.acc_bits)]
        total = chain().add(ACCUMULATE, bits[:dot.acc_bits], [self.shift] * dot.acc_bits,
                            list(acc), shifted, carry=False)
        for of_block in chains.values():
            for members in of_block:
                members.emit(m)
        return total
