"""Which design a board runs: its identity, from a plan or a build folder."""

from .protocol import Identity
from .weights import weights_crc

__all__ = ["digest_of", "identity_of"]

# Longer class names stay off the chip: they'd take a block RAM of their own.
LONGEST_NAMES = 1000  # bytes


def identity_of(plan, clock_mhz):
    """:class:`~boards.protocol.Identity` of ``plan`` at a clock of ``clock_mhz``."""
    names = tuple(" ".join(name.split()) for name in plan.package.class_names)
    if len("\n".join(names).encode()) > LONGEST_NAMES:
        names = ()
    network = plan.network
    crc = weights_crc(plan.contents.stream.tobytes()) if plan.schedule.loads else 0
    return Identity(network.name, network.side, network.classes, round(1000 * clock_mhz),
                    plan.digest, names, crc)


def digest_of(folder):
    """Digest of the build in ``folder``; raises ``gen.plan.PlanError`` where there's none."""
    from gen.plan import Plan
    return Plan.load(folder).digest
