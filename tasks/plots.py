"""Pictures of curves, as PNG files whose bytes depend on the figures alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def save_curves(
    history: Sequence[Mapping[str, float]], panels: Mapping[str, Sequence[str]], path: Path, title: str, x: str = "step"
) -> None:
    """One panel for each entry of `panels` (its title, the keys it shows) against `x`."""
    figure, axes = canvas(len(panels), title)
    for axis, (name, keys) in zip(axes, panels.items(), strict=True):
        for key in keys:
            points = [(row[x], row[key]) for row in history if key in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=key, marker="." if len(points) < 20 else None)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(x, fontsize=8)
        if len(keys) > 1:
            axis.legend(fontsize=7)
    save(figure, path)


def canvas(panels: int, title: str) -> tuple[Any, Any]:
    """Figure and axes, without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * panels, 3), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a PNG without the version of the library in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
