"""The figures of the pipeline as a picture: ways side by side, and the growth of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench_pipeline.goals import total
from tests.bench_pipeline.one_stage import STAGES

UNITS = (("seconds", "s", "seconds"), ("megabytes", "MB", "greatest memory"))


def draw(sizes: Mapping[str, Any], growth: Mapping[str, Any], path: Path) -> None:
    """Draw a row for each size, and one for the growth where there is any."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    heights = [2.2] * len(sizes) + [3.4] * bool(growth)
    picture, axes = plt.subplots(
        len(heights), 2, figsize=(9, sum(heights) + 0.6), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for row, (rows, size) in zip(axes, sizes.items(), strict=False):
        for axis, unit in zip(row, UNITS, strict=True):
            _bars(axis, size["ways"], *unit)
            axis.set_title(f"{int(rows):,} rows: {unit[2]}", fontsize=9)
    if growth:
        for axis, unit in zip(axes[-1], UNITS, strict=True):
            _lines(axis, growth, *unit)
    handles, labels = (axes[0] if sizes else axes[-1])[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower left", ncols=len(labels), fontsize=8, frameon=False)
    picture.savefig(path, dpi=110)
    plt.close(picture)


def _bars(axis: Any, ways: Mapping[str, Any], key: str, unit: str, _: str) -> None:
    names, left = list(ways)[::-1], [0.0] * len(ways)
    bars = None
    for stage in STAGES if key == "seconds" else ("",):
        widths = [ways[name][stage][key] if stage else total(ways[name], key) for name in names]
        bars = axis.barh(names, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axis.bar_label(bars, [f"{end:,.0f} {unit}" for end in left], padding=3, fontsize=8)
    axis.set_xlim(0, max(left) * 1.2)
    axis.set_xticks([])
    axis.tick_params(labelsize=8, length=0)
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _lines(axis: Any, growth: Mapping[str, Any], key: str, unit: str, what: str) -> None:
    rows = [int(size) for size in growth]
    for stage in STAGES:
        axis.plot(rows, [stages[stage][key] for stages in growth.values()], marker="o", markersize=3, label=stage)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(f"Updraft, boosted trees: {what} by rows", fontsize=9)
    axis.set_ylabel(unit, fontsize=8)
    for place in (axis.xaxis, axis.yaxis):
        place.set_minor_formatter(lambda value, _: "")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    if key == "megabytes":
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}" if f"{value:.0e}"[0] in "235" else "")
    axis.set_xticks(rows, [f"{size / 1e6:g}M" if size >= 10**6 else f"{size / 1000:.0f}k" for size in rows])
    axis.tick_params(labelsize=7, which="both")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
