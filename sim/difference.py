"""Where two maps first differ."""

import numpy as np

__all__ = ["describe", "first_difference"]


def first_difference(layer, expected, got, written=None):
    """First place where two maps of one image differ, or None.

    Parameters
    ----------
    layer : str
        What to call the maps; ``"scores"`` makes the axis a class instead of a channel.
    expected, got : int[c, h, w] or int[n]
    written : int array of that shape, optional
        How often each element was written; anything but once differs too.

    Returns
    -------
    dict or None
        ``layer``, ``channel``, ``row``, ``column`` (those that the maps have), ``expected``,
        ``got`` (None: never written), ``differing`` and ``elements`` (counts).
    """
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape:
        return {"layer": layer, "expected": list(expected.shape), "got": list(got.shape),
                "differing": expected.size, "elements": expected.size}
    differs = expected != got
    if written is not None:
        differs = differs | (written != 1)
    if not differs.any():
        return None
    place = tuple(int(i) for i in np.argwhere(differs)[0])
    axes = ("class",) if layer == "scores" else ("channel", "row", "column")
    times = 1 if written is None else int(written[place])
    return {"layer": layer, **dict(zip(axes, place)), "expected": int(expected[place]),
            "got": int(got[place]) if times else None,
            **({"written": times} if times > 1 else {}),
            "differing": int(differs.sum()), "elements": int(differs.size)}


def describe(difference):
    """One sentence about a :func:`first_difference`."""
    d = difference
    if "channel" in d or "class" in d:
        place = ", ".join(f"{axis} {d[axis]}" for axis in ("class", "channel", "row", "column")
                          if axis in d)
        got = "nothing" if d["got"] is None else d["got"]
        twice = f", written {d['written']} times" if "written" in d else ""
        return (f"first difference at {d['layer']}, {place}: expected {d['expected']}, got {got}"
                f"{twice} ({d['differing']} of {d['elements']} differ)")
    return f"first difference at {d['layer']}: expected {d['expected']}, got {d['got']}"
