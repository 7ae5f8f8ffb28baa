"""A memory that is as nasty as its contract allows."""

from amaranth import *
from amaranth.lib import memory

from hw.memory import Ram

__all__ = ["HostileRam"]


class HostileRam(Ram):
    """Gives a word inverted that's being written, as block RAM without collision logic may."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = ram.write_port(), ram.read_port()
        collided = Signal()
        m.d.comb += [
            write.addr.eq(self.w_addr), write.data.eq(self.w_data), write.en.eq(self.w_en),
            read.addr.eq(self.r_addr)]
        m.d.sync += [collided.eq(self.w_en & (self.w_addr == self.r_addr)),
                     self.r_data.eq(read.data ^ collided.replicate(self.width))]
        return m
