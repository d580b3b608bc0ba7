"""Figures without a screen: the axes of a new figure, and figures as files."""

from __future__ import annotations

import reprlib
from io import BytesIO
from typing import Any

from equiprop.files import write_bytes
from equiprop.paths import path_of
from equiprop.plotting.style import SIZE

#: Resolution of a picture of pixels, in dots for an inch.
_RESOLUTION = 200


def require_matplotlib(where: str) -> Any:
    """Return matplotlib's class Figure, which needs no screen; raise ImportError if it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"[{where}] A plot needs matplotlib, which is not installed. "
            "Install it with pip install 'equiprop[plot]'."
        ) from error
    return Figure


def axes_of(axes: Any, where: str, size: tuple[float, float] = SIZE) -> Any:
    """Return `axes`, or the axes of a new figure of this size in inches if it is None."""
    if axes is not None:
        rule = "axes are matplotlib Axes, or None"
        if isinstance(axes, type) or not all(hasattr(axes, name) for name in ("figure", "plot", "set")):
            raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(axes)}.")
        return axes
    return require_matplotlib(where)(figsize=size, layout="constrained").subplots()


def save(axes: Any, path: Any) -> None:
    """Write the figure of `axes` to a file; the suffix of `path` selects the format, such as .png or .svg.

    An SVG file keeps text as text, and equal figures give equal files. An existing file is replaced only when
    the new one is complete on the disk.

    Parameters
    ----------
    axes : matplotlib Axes
    path : str or path

    Examples
    --------
    >>> import equiprop as eq, os, tempfile
    >>> axes = eq.plotting.graph(eq.networks.dense([4, 6, 3]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     eq.plotting.save(axes, os.path.join(folder, "network.svg"))
    ...     os.listdir(folder)
    ['network.svg']
    """
    from matplotlib import rc_context

    if axes is None or isinstance(axes, type) or not hasattr(getattr(axes, "figure", None), "savefig"):
        raise TypeError(f"[plotting.save] axes are matplotlib Axes. Received {reprlib.repr(axes)}.")
    path, picture = path_of(path, "plotting.save"), BytesIO()
    kind = path.suffix[1:] or "png"
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "equiprop"}):
        axes.figure.savefig(picture, dpi=_RESOLUTION, format=kind, metadata=metadata)
    write_bytes(path, picture.getvalue(), "plotting.save")
