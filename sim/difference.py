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
    text = f"first difference at {d['layer']}"
    if "channel" in d or "class" in d:
        text += "".join(f", {axis} {d[axis]}" for axis in ("class", "channel", "row", "column")
                        if axis in d)
    got = "nothing" if d["got"] is None else d["got"]
    text += f": expected {d['expected']}, got {got}"
    if "written" in d:
        text += f", written {d['written']} times"
    if "differing" in d:
        text += f" ({d['differing']} of {d['elements']} differ)"
    return f"{text}; {d['stuck']}" if "stuck" in d else text
