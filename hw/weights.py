"""Weights that don't stay on the chip: written into the groups' memories while the frame runs.

::

    stream --> loader --> [hop 0] --> [hop 1] --> ... --> [last hop]     32 bits, one cycle a hop
                             |           |                    |
                          memory      memory               memory        a word at a time

The stream holds the weights of every :class:`.schedule.WeightLoad`, frame after frame: a word of
memory 0, of memory 1 and so on, then the next address; each word in pieces, lowest first. A load
waits until the layers are over whose weights it overwrites, and a layer until it's loaded. What
comes in the meantime waits in a queue.
"""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .memory import Ram
from .pipe import FAR, count_up, delayed
from .queue import FarQueue, Relay

__all__ = ["PIECE_BITS", "WeightHop", "WeightLoader", "pieces"]

# Cycles from a layer's last piece to counting it: a piece is written later, and the loader may lie
# far from the first memory.
LOADED_DELAY = 5 + FAR
PIECE_BITS = 32  # of a weight word: what comes at a time, at most every cycle


def pieces(schedule):
    """Pieces of a weight word."""
    return -(-schedule.lanes.weight_bits // PIECE_BITS)


def hop_layout(schedule):
    """What goes from memory to memory: a piece of a word, and how many hops it has to go."""
    return data.StructLayout({
        "valid": 1, "last": 1, "hops": range(max(2, schedule.lanes.weight_memories)),
        "addr": range(max(2, schedule.weight_depth)), "piece": PIECE_BITS})


class WeightHop(wiring.Component):
    """A weight memory, and its place in the row of hops.

    Parameters
    ----------
    schedule : Schedule
    name : str
        Of the init file.
    words : list of int
        First contents.

    Members
    -------
    x, y : ``In(hop)``, ``Out(hop)``
        A piece, and the same one cycle later for the next memory.
    addr : In
    data : Out
        The word at ``addr``, ``READ_LATENCY`` cycles later.
    """

    def __init__(self, schedule, name, words):
        self.schedule = schedule
        layout = hop_layout(schedule)
        self.ram = Ram(schedule.lanes.weight_bits, schedule.weight_depth, name, words)
        super().__init__({"x": In(layout), "y": Out(layout), "addr": In(layout["addr"].shape),
                          "data": Out(self.ram.width)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = self.ram
        word = Signal(PIECE_BITS * pieces(self.schedule), reset_less=True)
        mine, taken, write = self.x.valid & (self.x.hops == 0), Signal(), Signal()
        m.d.sync += [self.y.eq(self.x), self.y.valid.eq(self.x.valid & ~mine),
                     self.y.hops.eq(self.x.hops - 1), taken.eq(mine),
                     write.eq(delayed(m, mine & self.x.last, 1, state=True))]
        piece = delayed(m, self.x.piece, 1)
        with m.If(taken):       # a word has hundreds of bits: a register enables them, no logic
            m.d.sync += word.eq(Cat(word, piece)[PIECE_BITS:])
        # A register on the way to the block RAMs, which may lie far off.
        m.d.comb += [ram.w_en.eq(delayed(m, write, 1, state=True)),
                     ram.w_addr.eq(delayed(m, self.x.addr, 3)), ram.w_data.eq(delayed(m, word, 1)),
                     ram.r_addr.eq(self.addr), self.data.eq(ram.r_data)]
        return m


class WeightLoader(wiring.Component):
    """Sends the stream's pieces where they belong, when their place is free.

    Members
    -------
    pieces : ``In(stream.Signature(32))``
    y : ``Out(hop)``
        To the first memory.
    layer_done : ``In(1)``
        Pulse: a layer's weights, streamed or not, have been read for the last time.
    layer_start : ``In(1)``
        Pulse: a layer begins whose weights are streamed.
    there : ``Out(1)``
        The weights of the next such layer are loaded.
    """

    def __init__(self, schedule):
        self.schedule = schedule
        layers = [schedule.layers[load.layer] for load in schedule.loads]
        for layer, after in zip(layers, layers[1:]):
            if after.weights not in (layer.weights + layer.weight_words, layers[0].weights):
                raise ValueError(f"Loads must follow each other in a ring, but {after.name} at "
                                 f"{after.weights} comes after {layer.name}")
        super().__init__({
            "pieces": In(stream.Signature(PIECE_BITS)), "y": Out(hop_layout(schedule)),
            "layer_done": In(1), "layer_start": In(1), "there": Out(1)})

    def elaborate(self, platform):
        m = Module()
        y, loads = self.schedule, self.schedule.loads
        layers = [y.layers[load.layer] for load in loads]

        # How many layers more must be over than for the load before. The count starts as if the
        # frame before the first were over.
        steps = [load.after - before.after for load, before in zip(loads, (loads[-1], *loads))]
        steps[0] += len(y.layers)
        credit = Signal(range(2 * len(y.layers) + 1), init=len(y.layers) - loads[-1].after)
        # Loads follow each other in a ring: where one ends the next begins, or at the ring's start.
        start = layers[0].weights
        wraps = [after.weights == start for after in (*layers[1:], layers[0])]
        row_layout = data.StructLayout({
            "last": range(max(2, max(layer.weight_words for layer in layers))), "wraps": 1,
            "step": max(1, bits_for(max(steps)))})
        m.submodules.table = table = memory.Memory(
            shape=row_layout, depth=len(loads), attrs={"ram_style": "logic"}, init=[
                {"last": layer.weight_words - 1, "wraps": wrap, "step": step}
                for layer, wrap, step in zip(layers, wraps, steps)])
        row = table.read_port()
        index = Signal(range(max(2, len(loads))))
        m.d.comb += row.addr.eq(index)

        memories = y.lanes.weight_memories
        m.submodules.queue = queue = FarQueue(PIECE_BITS, y.queue_words)
        m.submodules.relay = relay = Relay(PIECE_BITS)
        wiring.connect(m, wiring.flipped(self.pieces), queue.x)
        wiring.connect(m, queue.y, relay.x)
        stored = relay.y

        target, piece = Signal(range(max(2, memories))), Signal(range(max(2, pieces(y))))
        addr, words_left = Signal(self.y.addr.shape(), init=start), Signal(row_layout["last"].shape)
        piece_end, target_end = (Signal(init=count == 1) for count in (pieces(y), memories))
        last_word = Signal()
        taken, loaded = Signal(row_layout["step"].shape), Signal()
        with m.FSM() as fsm:
            with m.State("FETCH"):                  # the table's row takes a cycle
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += [words_left.eq(row.data.last), last_word.eq(row.data.last == 0)]
                with m.If(credit >= row.data.step):
                    m.d.comb += taken.eq(row.data.step)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += stored.ready.eq(1)
                with m.If(stored.valid):
                    count_up(m, piece, piece_end, pieces(y))
                    with m.If(piece_end):
                        count_up(m, target, target_end, memories)
                        with m.If(target_end):
                            m.d.sync += [words_left.eq(words_left - 1),
                                         last_word.eq(words_left == 1)]
                            with m.If(last_word):
                                m.d.comb += loaded.eq(1)
                                m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += index.eq(Mux(index == len(loads) - 1, 0, index + 1))
                m.next = "FETCH"
        m.d.sync += credit.eq(credit + self.layer_done - taken)

        # The address is counted a cycle after all else, on the way to the memories.
        valid = stored.valid & stored.ready
        sent, word_sent, restart = delayed(
            m, Cat(valid, valid & piece_end & target_end, fsm.ongoing("NEXT") & row.data.wraps), 1,
            state=True)
        with m.If(word_sent):
            m.d.sync += addr.eq(addr + 1)
        with m.If(restart):
            m.d.sync += addr.eq(start)
        m.d.sync += [self.y.valid.eq(sent), self.y.addr.eq(addr),
                     self.y.last.eq(delayed(m, piece_end, 1)),
                     self.y.hops.eq(delayed(m, target, 1)),
                     self.y.piece.eq(delayed(m, stored.payload, 1))]

        waiting = Signal(range(len(loads) + 1))     # loaded, not begun yet
        m.d.sync += waiting.eq(waiting + delayed(m, loaded, LOADED_DELAY, state=True)
                               - self.layer_start)
        m.d.comb += self.there.eq(waiting != 0)
        return m
