"""The cocotb side of :mod:`sim.run`: whole frames through the pipeline, every layer compared.

Runs inside the simulator. The job (a JSON file named by ``SIGNSTREAM_JOB``) says what to do; the
verdicts go to the job's ``report``. A difference is a result, not an exception: only trouble of
the bench itself fails the cocotb test.
"""

import json
import os
import sys
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from gen.files import whole
from gen.package import Package

from .difference import first_difference
from .golden import Golden
from .taps import FrameTaps, TapSorter

RESET_CYCLES = 4
SCORE_BITS = 32
AFTER = 256      # cycles after the last frame in which no other score may come; one takes 91


class WeightFeed:
    """The weight stream's other side: pieces over and over, at the pace that the plan counts on;
    with stalls, there are stretches at half of it."""

    def __init__(self, dut, job, seed):
        self.valid, self.ready = dut.weights__valid, dut.weights__ready
        self.payload = dut.weights__payload
        self.pieces = np.fromfile(job["weights"], "<u4").tolist()
        self.pace, self.due, self.next = 1 / job["piece_cycles"], 0.0, 0
        self.stalls, self.offered = stalls(seed and seed + 2, (0, 0, 0.5)), False

    def step(self):
        """After a clock edge: True if a piece was taken by it."""
        taken = self.offered and self.ready.value == 1
        # A piece ahead at most: the plan counts on none, though a chip's queue holds some more.
        self.due = min(self.due + self.pace, 2)
        if taken or not self.offered:
            offer = self.due >= 1 and not next(self.stalls)
            if offer:
                self.due -= 1
                self.payload.value = self.pieces[self.next]
                self.next = (self.next + 1) % len(self.pieces)
            if offer != self.offered:
                self.valid.value = int(offer)
                self.offered = offer
        return taken


def stalls(seed, rates):
    """Endless booleans, True to stall: stretches of some dozen cycles, each at one of ``rates``."""
    if not seed:
        while True:
            yield False
    rng = np.random.default_rng(seed)
    while True:
        rate = rng.choice(rates)
        yield from (rng.random(int(rng.integers(16, 256))) < rate).tolist()


class Frames:
    """Feeds, drains and watches one run; everything happens in one loop of a single task, because
    each task that wakes up on a clock edge costs as much as reading a dozen ports."""

    def __init__(self, dut, job, golden, images, order, seed):
        self.dut, self.job, self.golden = dut, job, golden
        self.network, self.images, self.order = golden.network, images, order
        self.seed = seed
        self.cycle = 0
        p, c = job["pixels"], job["result_channels"]
        self.shape = p, c, len(dut.tap__codes) // (p * c), len(dut.tap__residual) // (p * c)
        self.results = [{} for _ in order]
        self.taps = TapSorter(lambda: FrameTaps(self.network, *self.shape))
        self.first_pixel, self.last_score = [], []

    async def run(self):
        """Frames in order; returns the list of verdicts."""
        try:
            await self._traffic()
        except Trouble as trouble:
            pending = next((r for r in self.results if "scores" not in r), self.results[-1])
            pending["difference"] = pending.get("difference") or trouble.difference
        return self.results

    async def _traffic(self):
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        image_ready, image_valid = dut.image__ready, dut.image__valid
        scores_valid, scores_ready = dut.scores__valid, dut.scores__ready
        tap_valid = dut.tap__valid
        fields = [getattr(dut, f"tap__{name}", None)          # a port of no bits doesn't exist
                  for name in ("frame", "layer", "row", "group", "slice", "mask", "codes",
                               "residual")]
        pixels = [word for k in self.order for word in self._words(k)]
        sent, offered, total = 0, False, len(pixels)
        image_stalls = stalls(self.seed, (0, 0, 0.5, 0.9))
        # Scores are few: some of them have to wait in every frame.
        score_stalls = stalls(self.seed and self.seed + 1, (0.5, 0.9))
        taking, standing, scores = False, None, []
        done, quiet, kinds = 0, 0, [conv.kind for conv in self.network.convs]
        frames, left = len(self.order), AFTER
        frame_pixels = self.network.side ** 2
        weights = WeightFeed(dut, self.job, self.seed) if self.job["weights"] else None
        while left:
            await edge
            self.cycle += 1
            quiet += 1
            over = done == frames
            left -= over
            if weights is not None and weights.step():
                quiet = 0
            # Values are those from before this edge: what was offered and taken by it.
            if offered and image_ready.value == 1:
                if sent % frame_pixels == 0:
                    self.first_pixel.append(self.cycle)
                sent, offered, quiet = sent + 1, False, 0
                if sent == total:
                    image_valid.value = 0
            if not offered and sent < total:
                if next(image_stalls):
                    image_valid.value = 0
                else:
                    dut.image__payload.value = pixels[sent]
                    image_valid.value = 1
                    offered = True
            valid = scores_valid.value == 1
            if valid and over:
                raise Trouble("scores", "nothing after the last frame", "another offer")
            if valid or standing is not None:
                payload = number(dut.scores__payload) if valid else None
                if standing is not None and payload != standing:
                    raise Trouble("scores", "an offer that stands until it's taken",
                                  "an offer changed or withdrawn untaken")
                standing = None if taking else payload
                if taking:
                    quiet = 0
                    scores.append(payload)
                    if self._frame_ended(scores, done):
                        scores, done = [], done + 1
            stalled = next(score_stalls)
            if stalled == taking:
                taking = not stalled
                scores_ready.value = int(taking)
            if tap_valid.value == 1:
                quiet = 0
                frame, index = number(fields[0]), number(fields[1])
                first = index < len(kinds) and kinds[index] == "first"
                self.taps.add(frame, index, *map(number, fields[2:7]),
                              None if first else number(fields[7]))
            if quiet > self.job["quiet"]:      # without any traffic: stuck
                self._stuck(done, sent)

    def _words(self, k):
        """Payloads of an image, row by row: red in the lowest bits."""
        red, green, blue = self.images[k].reshape(3, -1).astype(int)
        return (red | green << 8 | blue << 16).tolist()

    def _frame_ended(self, scores, frame):
        """Handles the newest transfer of the score stream; True after a frame's last."""
        if scores[-1] >> SCORE_BITS != (len(scores) == self.network.classes):
            raise Trouble(f"scores, last flag of class {len(scores) - 1}",
                          int(len(scores) == self.network.classes), scores[-1] >> SCORE_BITS)
        if len(scores) < self.network.classes:
            return False
        k, result = self.order[frame], self.results[frame]
        got = np.array(scores, np.int64) & (1 << SCORE_BITS) - 1
        got = (got - (got >> SCORE_BITS - 1 << SCORE_BITS)).astype(np.int32)
        want = self.golden.run(self.images[k:k + 1], taps=True)
        self.last_score.append(self.cycle)
        result.update(
            image=k, scores=got.tolist(), expected=want.scores[0].tolist(),
            difference=self._map_difference(frame, want)
            or first_difference("scores", want.scores[0], got),
            first_pixel=self.first_pixel[frame], last_score=self.cycle)
        say(f"  frame {frame + 1}/{len(self.order)}"
            f"{f', stalls {self.seed}' if self.seed else ''}: cycle {self.cycle}, "
            f"{'differs' if result['difference'] else 'bit-exact'}", self.job["started"])
        return True

    def _map_difference(self, frame, want):
        """First difference of a frame's maps; its words are then forgotten."""
        if frame >= len(self.taps.frames):
            return {"layer": self.network.convs[0].name, "expected": "a map", "got": "no words"}
        taps, self.taps.frames[frame] = self.taps.frames[frame], None
        return taps.first_difference({name: m[0] for name, m in want.maps.items()})

    def _stuck(self, done, sent):
        """The design stopped: compare what there is, then give up."""
        k = self.order[done]
        want = self.golden.run(self.images[k:k + 1], taps=True)
        found = self._map_difference(done, want)
        seen = (f"no traffic for {self.job['quiet']} cycles ({sent} pixels taken, "
                f"{done} frames done, cycle {self.cycle})")
        if found:
            raise Trouble(found["layer"], None, None, {**found, "stuck": seen})
        raise Trouble("scores", f"{self.network.classes} scores", seen)


class Trouble(Exception):
    """The run can't go on; ``difference`` says why."""

    def __init__(self, layer, expected, got, difference=None):
        self.difference = difference or {"layer": layer, "expected": expected, "got": got}
        super().__init__(str(self.difference))


def number(port):
    """Value of a port as an unsigned integer."""
    if port is None:
        return 0
    value = port.value
    try:
        return value.to_unsigned() if hasattr(value, "to_unsigned") else int(value)
    except ValueError:
        raise Trouble(port._name, "0 and 1", f"undefined bits in {value}") from None


def say(line, started):
    print(f"{line}  {time.time() - started:.0f} s", file=sys.stderr, flush=True)


@cocotb.test()
async def frames(dut):
    job = json.loads(Path(os.environ["SIGNSTREAM_JOB"]).read_text())
    package = Package.load(job["package"])
    with np.load(job["images"]) as z:
        images = z["images"]
    golden, verdicts = Golden(package), []
    Clock(dut.clk, 10, "ns").start()
    for run in job["runs"]:
        dut.image__valid.value = dut.image__payload.value = dut.scores__ready.value = 0
        if job["weights"]:
            dut.weights__valid.value = 0
        dut.rst.value = 1
        for _ in range(RESET_CYCLES):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        bench = Frames(dut, job, golden, images, run["order"], run["seed"])
        verdicts.append({**run, "frames": await bench.run(), "cycles": bench.cycle})
        with whole(job["report"]) as partial:
            partial.write_text(json.dumps(verdicts))
