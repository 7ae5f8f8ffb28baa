"""Clusters have every cell once, small ones join others, and nets count those that they connect."""

import numpy as np

from boards.cluster import clusters


def module(cells):
    """Yosys' JSON of ``name: (type, inputs, outputs)``, pins being lists of nets."""
    return {"cells": {name: {
        "type": kind,
        "connections": {**{"DI" if kind == "TRELLIS_FF" and k == 0 else f"A{k}": [net]
                           for k, net in enumerate(inputs)},
                        **{f"Z{k}": [net] for k, net in enumerate(outputs)}},
        "port_directions": {"DI": "input", **{f"A{k}": "input" for k in range(len(inputs))},
                            **{f"Z{k}": "output" for k in range(len(outputs))}}}
        for name, (kind, inputs, outputs) in cells.items()}}


def chain(name, first, length, of="TRELLIS_FF"):
    """Cells one behind the other, from the net ``first`` on."""
    return {f"{name}{k}": (of, [first + k], [first + k + 1]) for k in range(length)}


def test_what_is_connected_comes_together_and_takes_its_sites():
    """Two rings of twelve with one wire between them, of at most twelve sites a cluster."""
    cells = {}
    for ring in (0, 100):
        cells |= {f"r{ring}_{k}": ("TRELLIS_FF", [ring + k, ring + (k + 5) % 12],
                                   [ring + (k + 1) % 12]) for k in range(12)}
    cells["ram"] = "DP16KD", [3], [500]
    cells["taker"] = "LUT4", [500, 103], [501]
    found = clusters(module(cells), 12)
    assert found.block_rams == ("ram",)
    assert found.sites.tolist() in ([0, 12, 12], [0, 12, 12 + 0])
    assert found.sites[0] == 0 and sorted(found.sites) == [0, 12, 12]
    # From one ring to the block RAM, from that to the other ring.
    assert sorted(found.nets.values()) == [1, 1]
    assert sorted(found.nets) == [(0, 1), (0, 2)]


def test_a_lut_and_its_flip_flop_are_one_site_and_a_chain_of_carries_stays_together():
    cells = {"lut": ("LUT4", [1], [2]), "ff": ("TRELLIS_FF", [2], [3])}
    assert clusters(module(cells), 0).sites.tolist() == [1]
    carries = module(chain("c", 10, 5, "CCU2C"))
    for k in range(5):
        pins = carries["cells"][f"c{k}"]
        pins["connections"]["CIN"] = pins["connections"].pop("A0")
        pins["port_directions"]["CIN"] = "input"
    assert clusters(carries, 0).sites.tolist() == [10]
    # One with two users needn't lie beside its LUT.
    cells["other"] = "LUT4", [2], [4]
    assert sorted(clusters(module(cells), 0).sites) == [1, 1, 1]


def test_hop_registers_do_not_gather_the_groups_of_the_array():
    """A chain through three groups; a net between two has the name of the later one's port."""
    cells = {}
    for g in range(3):
        array = f"shell.pipeline.array.group{g}"
        cells[f"{array}_passing_TRELLIS_FF_Q" if g else "first"] = "TRELLIS_FF", [g], [g + 1]
        cells |= {f"{array}.dot{k}": ("LUT4", [g + 1, 20 + 10 * g + k], [20 + 10 * g + k + 1])
                  for k in range(4)}
    found = clusters(module(cells), 50)
    assert found.sites.tolist() == [4, 4, 4]
    [(a, b), (c, d)] = found.nets
    assert len({a, b} & {c, d}) == 1 and set(found.nets.values()) == {1}


def test_left_overs_join_a_full_cluster_and_broadcasts_connect_nothing():
    cells = {f"lut{k}": ("LUT4", [k, (k + 1) % 8], [(k + 2) % 8]) for k in range(8)}
    cells["late"] = "TRELLIS_FF", [50], [0]
    found = clusters(module(cells), 8)
    assert found.sites.tolist() == [8]
    clock = {f"ff{k}": ("TRELLIS_FF", [7], [100 + k]) for k in range(400)}
    clock["ram"] = "DP16KD", [7, 300], [900]
    found = clusters(module(clock), 8)
    assert not any(0 in net and len(net) > 2 for net in found.nets)
    assert found.sites.sum() == 400 and found.nets == {
        net: 1 for net in found.nets} and len(found.nets) <= 1


def test_the_same_netlist_gives_the_same_clusters():
    rng = np.random.default_rng(3)
    cells = {f"c{k}": ("LUT4", rng.integers(0, 60, 3).tolist(), [1000 + k]) for k in range(80)}
    one, two = (clusters(module(cells), 10) for _ in range(2))
    assert one.sites.tolist() == two.sites.tolist() and one.nets == two.nets
