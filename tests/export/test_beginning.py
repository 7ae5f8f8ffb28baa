"""Which network a run trains, of the command line's options and of what it begins with."""

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.beginning import NETWORK_OPTIONS, network_of  # noqa: E402
from export.checkpoint import restore, save  # noqa: E402
from gen.network import Network  # noqa: E402

PARENT = Network(8, 2, act_bits=6, act_frac=1, res_bits=8, res_frac=2)


@pytest.mark.parametrize("given, network", [
    ({}, PARENT),
    ({"width": 4, "act_frac": 2}, Network(8, 4, act_bits=6, act_frac=2, res_bits=8, res_frac=2)),
    ({"act_bits": 4}, Network(8, 2, act_bits=4, act_frac=1, res_bits=8, res_frac=2)),
    ({"act_bits": 8}, Network(8, 2, act_bits=8, act_frac=5, res_bits=8, res_frac=2)),
    ({"act_bits": 6}, PARENT),
    ({"res_bits": 12}, Network(8, 2, act_bits=6, act_frac=1, res_bits=12, res_frac=5)),
    ({"res_bits": 12, "res_frac": 2}, Network(8, 2, act_bits=6, act_frac=1, res_bits=12,
                                              res_frac=2)),
])
def test_what_no_option_names_is_the_parents(trained, tmp_path, given, network):
    save(tmp_path / "parent.pt", {**restore(trained), "network": PARENT.to_dict()})
    options = dict.fromkeys(NETWORK_OPTIONS) | given
    assert network_of(options, tmp_path / "parent.pt") == network
    assert network_of(options) == Network(**given)


def test_a_run_keeps_the_formats_of_its_start_and_resumes_without_naming_them(data, tmp_path):
    def run(out, *more):
        assert main(["train", "--data", str(data), "--out", str(tmp_path / out), "--batch", "10",
                     *map(str, more)]) == 0
        network = restore(tmp_path / out)["network"]
        return [network[name] for name in NETWORK_OPTIONS]

    formats = run("a.pt", "--epochs", 1, "--depth", 8, "--act-bits", 6, "--act-frac", 1,
                  "--res-bits", 8)
    assert formats == [8, 1, 6, 1, 8, 1]
    options = "--epochs", 2, "--start-from", tmp_path / "a.pt"
    assert run("b.pt", *options, "--stop-after", 1) == formats
    assert run("b.pt", "--epochs", 2, "--resume") == formats
