"""The layer schedule: the data that steers the pipeline through a network.

Nothing in the gateware is written for one network. A :class:`Schedule` lists, for every
convolution, loop bounds and addresses; the sequencers count them out.
"""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gen.device import EBR_SHAPES

__all__ = ["Lanes", "LayerSchedule", "LayerTable", "Schedule", "WeightLoad"]

EBR_WIDTH = EBR_SHAPES[0][0]  # bits of a block RAM's widest word


@dataclass(frozen=True)
class Lanes:
    """Size of the array: ``pixels * 3 * slice_channels * outputs`` multiply-accumulates a cycle.

    Parameters
    ----------
    pixels : int
        Neighbouring pixels of a row computed at once, ``P``.
    slice_channels : int
        Input channels of a step, ``Cs``.
    outputs : int
        Output channels computed at once, ``M``.
    result_channels : int
        Output channels of a result word and of a group of the array, ``Cr``.
    """

    pixels: int
    slice_channels: int
    outputs: int
    result_channels: int

    @property
    def count(self):
        """Multiply-accumulates per cycle."""
        return self.pixels * self.inputs * self.outputs

    @property
    def inputs(self):
        """Inputs of one dot product: three kernel columns of a channel slice."""
        return 3 * self.slice_channels

    @property
    def groups(self):
        """Groups that the activations hop through."""
        return self.outputs // self.result_channels

    @property
    def half(self):
        """Pixels of the larger half of a group; either has registers for its codes and weights."""
        return -(-self.pixels // 2)

    @property
    def weight_channels(self):
        """Output channels whose weights make a word of a weight memory: those of a group, or of
        two neighbouring groups where that leaves less of the block RAMs' width over."""
        width = self.inputs * self.result_channels
        saves = -(-2 * width // EBR_WIDTH) < 2 * -(-width // EBR_WIDTH)
        return self.result_channels * (2 if saves and self.groups % 2 == 0 else 1)

    @property
    def weight_memories(self):
        """Weight memories, one behind the other along the groups."""
        return self.outputs // self.weight_channels

    @property
    def weight_bits(self):
        """Bits of a word of a weight memory."""
        return self.inputs * self.weight_channels

    @property
    def subslices(self):
        """Result words that make up the channels of one slice."""
        return self.slice_channels // self.result_channels


@dataclass(frozen=True)
class LayerSchedule:
    """Loop bounds and addresses of one convolution, or of a pass of it.

    A pass computes some of the output channels for all pixels, so that their weights are needed for
    the time of the pass only; ``final`` says that no other of the convolution follows. Of the
    result words of a group of pixels, ``first_word`` come before this pass's and ``skip`` are other
    passes' in all.

    The loops, outermost first: ``rows`` output rows, ``x_groups`` groups of ``pixels`` input
    columns, ``out_groups`` groups of ``outputs`` channels, ``digits`` of a pixel, 3 kernel rows,
    ``slices`` of input channels; then ``bubbles`` idle steps where the results of a step would
    come faster than one word a cycle. ``gap`` is the number of idle cycles before the first step.
    Addresses are words of the activation memory (``source``, ``target``), of the weight memories
    and of the constant memory; ``residual`` is where the frame's residual map begins, ``pooled``
    where it begins from the layer that pools it on.

    ``frame`` numbers the frames of a round. A layer that ``reuses`` finds the weights that the
    frame before it had loaded; a ``late`` one is for the frame of the round before.
    """

    name: str
    gap: int
    rows: int
    x_groups: int
    out_groups: int
    digits: int
    slices: int
    bubbles: int
    stride: int
    from_image: bool
    last: bool
    first_conv: bool
    pool: bool
    source: int
    target: int
    weights: int
    constants: int
    row_words: int
    residual_words: int
    shift: int
    entry: int
    first_output: int = 0
    first_word: int = 0
    skip: int = 0
    final: bool = True
    residual: int = 0
    pooled: int = 0
    frame: int = 0
    reuses: bool = False
    late: bool = False

    @property
    def steps(self):
        """Steps for one group of outputs at one group of pixels."""
        return self.digits * 3 * self.slices + self.bubbles

    @property
    def cycles(self):
        """Cycles from the first step of the layer to its last, inclusive."""
        return self.rows * self.x_groups * self.out_groups * self.steps

    @property
    def weight_words(self):
        """Words of every group's weight memory that hold the layer's weights."""
        return self.out_groups * 3 * self.slices

    @property
    def part(self):
        """What weights these are, whichever frame they are for: name and first output channel."""
        return self.name, self.first_output


@dataclass(frozen=True)
class WeightLoad:
    """Weights that are written into the weight memories in every round, before their layer.

    Parameters
    ----------
    layer : int
        Index in ``Schedule.layers`` of the pass whose weights they are; they fill its
        ``weight_words``.
    after : int
        Number of passes of the round that must be over before the first word is overwritten.
        Zero or less counts back into the round before: 0 is its last one.
    """

    layer: int
    after: int


@dataclass(frozen=True)
class Schedule:
    """Everything that the gateware is made from, besides the weights.

    ``layers`` are a round's: convolutions in their order, each in one pass or more, of one frame or
    of two that share the weights of the deep layers, the last of which may be done a round later.

    ``map_depth`` counts words of a memory column for activation maps, ``residual_depth`` for
    residual maps, ``image_words`` those of the image. ``loads`` are the :class:`WeightLoad` of a
    round in the order of their layers; none if all weights stay. ``queue_words`` are pieces of
    weights that wait in block RAM until there's room for them.
    """

    lanes: Lanes
    layers: tuple
    act_bits: int
    act_frac: int
    res_bits: int
    acc_bits: int
    classes: int
    features: int
    side: int
    head_pixels: int
    map_depth: int
    residual_depth: int
    image_words: int
    loads: tuple = ()
    queue_words: int = 0

    @property
    def weight_depth(self):
        """Words of every group's weight memory."""
        return max(layer.weights + layer.weight_words for layer in self.layers)

    @property
    def digits(self):
        """Digits of ``act_bits`` that hold an 8-bit pixel."""
        return -(-8 // self.act_bits)

    @property
    def frames(self):
        """Frames of a round."""
        return 1 + max(layer.frame for layer in self.layers)

    @property
    def one_frame(self):
        """The layers of a round's first frame, in the network's order."""
        return sorted((layer for layer in self.layers if not layer.frame),
                      key=lambda layer: layer.constants)

    @property
    def convs(self):
        """Names of the convolutions, in the network's order."""
        return list(dict.fromkeys(layer.name for layer in self.one_frame))

    @property
    def late(self):
        """Whether a round's last convolutions are done in the next one."""
        return any(layer.late for layer in self.layers)

    @property
    def streamed(self):
        """The :attr:`LayerSchedule.part` of weights that are streamed."""
        return {self.layers[load.layer].part for load in self.loads}

    @property
    def constant_words(self):
        """Words of the constant memory."""
        return sum(layer.out_groups for layer in self.one_frame) * self.lanes.groups

    @property
    def cycles(self):
        """Cycles per round with rounds back to back."""
        return sum(layer.gap + layer.cycles for layer in self.layers)


class LayerTable(wiring.Component):
    """Steps through chosen fields of the schedule's layers, over and over.

    Parameters
    ----------
    schedule : Schedule
    columns : dict
        Bits and value of a field: ``name -> function(layer)``, non-negative integers.

    Members
    -------
    row : ``Out(StructLayout)``
        Fields of the current layer; those of the first after reset.
    advance : ``In(1)``
        Go to the next layer, or from the last to the first; at most every third cycle.
    """

    def __init__(self, schedule, columns):
        self.rows = [{name: int(of(layer)) for name, of in columns.items()}
                     for layer in schedule.layers]
        self.layout = data.StructLayout(
            {name: max(1, bits_for(max(row[name] for row in self.rows))) for name in columns})
        super().__init__({"row": Out(self.layout), "advance": In(1)})

    def elaborate(self, platform):
        m = Module()
        # Passes are many and much alike: logic takes less of them than block RAM, which is dear.
        m.submodules.table = table = memory.Memory(
            shape=self.layout, depth=len(self.rows), init=self.rows,
            attrs={"ram_style": "logic"})
        port, count = table.read_port(), len(self.rows)
        # The row read next, and the one behind it: neither the sum nor what `advance` comes from is
        # in the way of the table's logic.
        ahead = Signal(range(count), init=1 % count)
        behind = Signal(range(count), init=2 % count)
        row, late = Signal(self.layout, init=self.rows[0]), Signal()
        m.d.comb += [self.row.eq(row), port.addr.eq(ahead)]
        m.d.sync += late.eq(self.advance)
        with m.If(self.advance):
            m.d.sync += row.eq(port.data)
        with m.If(late):
            m.d.sync += [ahead.eq(behind),
                         behind.eq(Mux(behind == count - 1, 0, behind + 1))]
        return m
