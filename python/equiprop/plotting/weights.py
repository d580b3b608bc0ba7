"""The plot of weights as images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.analysis.filters import filters as images_of
from equiprop.checks import whole
from equiprop.models import HopfieldNetwork
from equiprop.plotting import style
from equiprop.plotting.figures import axes_of


def filters(
    net: HopfieldNetwork, block: str = "W1", count: int = 36, shape: Any = None, axes: Any = None
) -> Any:
    """Draw the weights of a block as images side by side, dark to bright by sign and size; return the axes.

    Zero has the middle of the colours, which is the middle grey in print. Images of one unit or one channel
    stand in a row, first that of the first source channel.

    Parameters
    ----------
    net : HopfieldNetwork
    block : str
        Name of a block of weights, such as "W1".
    count : int
        Largest number of images.
    shape : (height, width), optional
        Shape of the source layer of dense weights; see `equiprop.analysis.filters`.
    axes : matplotlib Axes, optional

    Examples
    --------
    >>> import equiprop as eq
    >>> axes = eq.plotting.filters(eq.networks.convolutional28(), "W1", count=16)
    >>> axes.images[0].get_array().shape
    (23, 23)
    """
    count = whole(count, "filters", "count", 1)
    images = images_of(net, block, shape)
    total = images.shape[0] * images.shape[1]
    shown = images.reshape(total, *images.shape[2:])[:count]
    axes = axes_of(axes, "filters", (4.2, 3.6))
    limit = float(np.abs(shown).max()) or 1.0
    colours = {"cmap": style.SIGNED, "vmin": -limit, "vmax": limit}
    picture = axes.imshow(_side_by_side(shown), **colours, interpolation="nearest")
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.85)
    bar.set_label("weight", fontsize=style.LABEL)
    bar.ax.tick_params(labelsize=style.SMALL)
    height, width = shown.shape[1:]
    about = f"{len(shown)} of {total} images of {height} x {width} weights"
    style.dress(axes, f"Weights {block}", about, "", grid=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _side_by_side(images: NDArray[Any]) -> NDArray[Any]:
    """Return images (count, height, width) in rows, with lines of NaN between them."""
    count, height, width = images.shape
    columns = max(1, round(np.sqrt(count * height / width)))
    rows = -(-count // columns)
    frame = np.full((rows * columns, height + 1, width + 1), np.nan)
    frame[:count, :height, :width] = images
    frame = frame.reshape(rows, columns, height + 1, width + 1).transpose(0, 2, 1, 3)
    return frame.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]
