"""The figures of the pipeline as a table beside the goals, as JSON, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Ways = Mapping[str, Mapping[str, Mapping[str, Any]]]
TUTORIAL, FOREST, BOOSTED = "tutorial", "Updraft, same forest", "Updraft, boosted trees"
# What, the size from which it counts, the way of ours, the stage or all of them, seconds or megabytes, how many times.
GOALS = [
    ("ingest, times faster", 0, FOREST, "ingest", "seconds", 4.0),
    ("whole pipeline with the same forest, times faster", 0, FOREST, "", "seconds", 1.7),
    ("whole pipeline with boosted trees, times faster", 0, BOOSTED, "", "seconds", 4.0),
    ("greatest memory, times less", 4_000_000, FOREST, "", "megabytes", 7.0),
]


def total(stages: Mapping[str, Mapping[str, Any]], key: str) -> float:
    """Add up seconds, or take the greatest memory, of a way's stages."""
    values = [stage[key] for stage in stages.values()]
    return max(values) if key == "megabytes" else sum(values)


def print_size(rows: int, trees: int, ways: Ways) -> None:
    """Print seconds and memory of each stage, a column for each way."""
    print(f"\n{rows:,} rows, {trees} trees{'':<8}" + "".join(f"{way:>34}" for way in ways), flush=True)
    for stage in (*ways[TUTORIAL], "total"):
        cells = []
        for stages in ways.values():
            its = stages.get(stage) or {key: total(stages, key) for key in ("seconds", "cpu", "megabytes")}
            cells.append(f"{its['seconds']:.1f} s, {its['cpu']:.1f} s CPU, {its['megabytes']:,.0f} MB")
        print(f"{stage:<30}" + "".join(f"{cell:>34}" for cell in cells))
    print(f"{'ROC AUC':<30}" + "".join(f"{stages['evaluate']['value']:>34.4f}" for stages in ways.values()))


def print_goals(sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Print by how much each goal is met, on each size that it counts for; return that."""
    found = []
    print(f"\n{'goal':<52}{'rows':>12}{'found':>9}{'goal':>9}")
    for what, least, way, stage, key, goal in GOALS:
        for rows, size in sizes.items():
            if int(rows) < least:
                continue
            theirs, ours = (
                size["ways"][name][stage][key] if stage else total(size["ways"][name], key) for name in (TUTORIAL, way)
            )
            ratio = theirs / ours
            found.append({"goal": what, "rows": int(rows), "found": ratio, "value": goal, "met": ratio >= goal})
            verdict = "met" if ratio >= goal else f"missed: {ratio / goal:.2f} of it"
            print(f"{what:<52}{int(rows):>12,}{ratio:>9.2f}{'≥':>4}{goal:>5.1f}  {verdict}")
    return found


def save(results: Mapping[str, Any], folder: Path) -> None:
    """Write pipeline.json and pipeline.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _draw(results["sizes"], folder / "pipeline.png")
    print(f"\nwritten: {folder}/pipeline.json, {folder}/pipeline.png")


def _draw(sizes: Mapping[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    picture, axes = plt.subplots(len(sizes), 2, figsize=(9, 2.2 * len(sizes) + 0.6), squeeze=False)
    for row, (rows, size) in zip(axes, sizes.items(), strict=True):
        for axis, (key, unit) in zip(row, (("seconds", "s"), ("megabytes", "MB")), strict=True):
            ways = size["ways"]
            names, left = list(ways)[::-1], [0.0] * len(ways)
            stages = list(ways[TUTORIAL]) if key == "seconds" else [""]
            for stage in stages:
                widths = [ways[name][stage][key] if stage else total(ways[name], key) for name in names]
                bars = axis.barh(names, widths, left=left, label=stage)
                left = [start + width for start, width in zip(left, widths, strict=True)]
            axis.bar_label(bars, [f"{end:,.0f} {unit}" for end in left], padding=3, fontsize=8)
            axis.set_title(f"{int(rows):,} rows: {'seconds' if unit == 's' else 'greatest memory'}", fontsize=9)
            axis.set_xlim(0, max(left) * 1.2)
            axis.set_xticks([])
            axis.tick_params(labelsize=8, length=0)
            axis.spines[["top", "right", "bottom"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="lower left", ncols=len(labels), fontsize=8, frameon=False)
    picture.tight_layout(rect=(0, 0.07 if len(sizes) > 1 else 0.12, 1, 1))
    picture.savefig(path, dpi=110)
    plt.close(picture)
