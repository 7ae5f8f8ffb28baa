"""Shapes of block RAM for Yosys, which counts block RAMs and nothing else.

A memory of 1,024 words of 36 bits takes two block RAMs either way: as two times 1,024 x 18, or as
two times 512 x 36 with 36 multiplexers behind, whose select lines go to all of them. Yosys
takes the second. So memories for which the deeper shape costs no more are mapped before the rest
of the synthesis, by a library that knows this shape alone.
"""

from gen.device import EBR_SHAPES

__all__ = ["FILES", "shape_commands"]

# A block RAM of the widest shape has ROW words. The next two shapes cost no more where the widest
# would need as many rows as they are deep; the others always do.
(_, ROW), *DEEPER = EBR_SHAPES[:3]

# The first memory of Yosys' techlibs/lattice/brams_16kd.txt, with one of its widths.
LIBRARY = """\
ram block $__DP16KD_ {{
    abits 14;
    widths {bits} per_port;
    byte 9;
    cost 128;
    init no_undef;
    port srsw "A" "B" {{
        clock anyedge;
        clken;
        wrbe_separate;
        portoption "WRITEMODE" "NORMAL" {{
            rdwr no_change;
        }}
        portoption "WRITEMODE" "READBEFOREWRITE" {{
            rdwr old;
        }}
        option "RESETMODE" "SYNC" {{
            rdsrst zero ungated block_wr;
        }}
        rdinit zero;
    }}
}}
"""
FILES = {f"block_ram_{bits}.txt": LIBRARY.format(bits=bits) for bits, _ in DEEPER}


def shape_commands(top):
    """Yosys commands for a design just read whose top module is ``top``, to be run where
    :data:`FILES` are."""
    return ["hierarchy -top " + top, "proc", "opt_clean", "memory -nomap",
            *(f"memory_libmap -lib block_ram_{bits}.txt t:$mem_v2 r:SIZE>{words - ROW} %i "
              f"r:SIZE<={words} %i r:RD_CLK_ENABLE=1 %i" for bits, words in DEEPER),
            "techmap -map +/lattice/brams_map_16kd.v"]
