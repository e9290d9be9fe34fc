"""The figures as a table beside the goals, as JSON, and as a picture."""

from __future__ import annotations

import json
import operator
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench_serving.measure import MANY, MORE
from tests.bench_serving.models import REFERENCE
from tests.bench_serving.peers import BENTOML, CANARY, FASTAPI, FLOOR, MLFLOW, OURS, SHIPPING

Results = dict[str, Any]
HEADER = f"{'':<16}{'requests/s':>10}{'from':>9}{'to':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'failed':>8}"


@dataclass(frozen=True)
class Goal:
    """A goal for a ratio of two servers' figures."""

    what: str
    key: str
    of: str  # the server that it is compared with
    holds: Callable[[float, float], bool]
    value: float
    who: str = OURS


GOALS = [
    Goal("c=64, times MLflow", "rate 64", MLFLOW, operator.ge, 100),
    Goal("c=64, times BentoML", "rate 64", BENTOML, operator.ge, 10),
    Goal("c=64, times FastAPI", "rate 64", FASTAPI, operator.ge, 80),
    Goal("c=64, share of the constant route", "rate 64", FLOOR, operator.ge, 0.85),
    Goal("c=1, share of the constant route", "rate 1", FLOOR, operator.ge, 0.65),
    Goal("p50 at c=1, share of MLflow's", "p50 1", MLFLOW, operator.le, 1 / 40),
    Goal("p99 at c=64, share of MLflow's", "p99 64", MLFLOW, operator.le, 1 / 40),
    Goal(f"bodies of {MANY:,} rows, times MLflow", f"rows {MANY}", MLFLOW, operator.ge, 2.5),
    Goal(f"bodies of {MORE:,} rows, times MLflow", f"rows {MORE}", MLFLOW, operator.ge, 2),
    Goal("first answer, times the constant route's", "first", FLOOR, operator.le, 3),
    Goal("c=64, with the shipper, share of without it", "rate 64", OURS, operator.ge, 0.95, SHIPPING),
    Goal("c=1, with the shipper, share of without it", "rate 1", OURS, operator.ge, 0.95, SHIPPING),
    Goal("c=64, with a canary, share of without it", "rate 64", OURS, operator.ge, 0.9, CANARY),
    Goal("c=1, with a canary, share of without it", "rate 1", OURS, operator.ge, 0.9, CANARY),
]
FORMS = {"compiled": "a compiled model", "pipeline": "its pipeline"}
MEMORY = 130.0  # megabytes of two workers


def machine() -> dict[str, Any]:
    """Describe where the figures were taken."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    load = os.getloadavg()[0]
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": round(load, 2)}


def print_model(name: str, figures: Mapping[str, Results], connections: tuple[int, ...]) -> None:
    """Print what was measured of a model."""
    print(f"\n{name}: served here as {FORMS[figures[OURS]['form']]}", flush=True)
    for number in connections:
        print(f"c={number:<14}{HEADER[16:]}")
        for server, its in figures.items():
            rate = its[f"rate {number}"]
            times = "".join(f"{its[f'{kind} {number}']['median']:>9,.2f}" for kind in ("p50", "p99"))
            cpu, failed = its[f"cpu {number}"]["median"], its[f"failed {number}"]["greatest"]
            span = f"{rate['median']:>10,.0f}{rate['least']:>9,.0f}{rate['greatest']:>9,.0f}"
            print(f"{server:<16}{span}{times}{cpu:>9,.0f}{failed:>8,.0f}")
    _print_rows(figures)


def _print_rows(figures: Mapping[str, Results]) -> None:
    for key in (f"rows {MANY}", f"rows {MORE}"):
        its = {server: found[key] for server, found in figures.items() if key in found}
        if its:
            print(f"rows/s in bodies of {int(key[5:]):,}: " + ", ".join(map(_rows, its.items())))


def print_starts(figures: Mapping[str, Results]) -> None:
    """Print the times to the first answer and the memory, where they were measured."""
    for server, its in figures.items():
        if "first" in its:
            kinds = {"one worker": its["memory"], "two workers": its.get("two workers")}
            weights = (f"{kind} PSS {m['pss']:.0f}, RSS {m['rss']:.0f} MB" for kind, m in kinds.items() if m)
            print(f"{server:<16}first answer {its['first']['median']:.2f} s; {'; '.join(weights)}")


def _rows(item: tuple[str, Mapping[str, float]]) -> str:
    server, found = item
    return f"{server} {found['median']:,.0f}" if found["median"] else f"{server} refused it"


def print_goals(results: Results) -> list[dict[str, Any]]:
    """Print the goals of the reference forest, and by how much they are met; return them."""
    figures, told = results["models"][REFERENCE], []
    for goal in GOALS:
        ours, other = (figures.get(server, {}).get(goal.key, {}).get("median") for server in (goal.who, goal.of))
        if ours is not None and other:
            told.append(_told(goal.what, ours / other, goal.value, goal.holds))
    if memory := figures[OURS].get("two workers"):
        told.append(_told("two workers, MB (PSS)", memory["pss"], MEMORY, operator.le))
    print(f"\n{'goal':<44}{'found':>10}{'goal':>10}")
    for each in told:
        sign = "≥" if each["at_least"] else "≤"
        verdict = "met" if each["met"] else f"missed: {each['of_goal']:.2f} of it"
        print(f"{each['goal']:<44}{each['found']:>10,.3g}{sign:>4}{each['value']:>6,.3g}  {verdict}")
    return told


def _told(what: str, found: float, value: float, holds: Callable[[float, float], bool]) -> dict[str, Any]:
    at_least = holds is operator.ge
    of_goal = found / value if at_least else value / found
    return {
        "goal": what,
        "found": found,
        "value": value,
        "at_least": at_least,
        "met": holds(found, value),
        "of_goal": of_goal,
    }


def save(results: Results, folder: Path) -> None:
    """Write serving.json and serving.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serving.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _draw(results["models"][REFERENCE], folder / "serving.png")


def _draw(figures: Mapping[str, Results], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figures = {server: found for server, found in figures.items() if server not in (SHIPPING, CANARY)}
    numbers = [int(key[5:]) for key in figures[OURS] if key.startswith("rate ")]
    panels = [(f"requests/s, {number} connection{'s' if number > 1 else ''}", f"rate {number}") for number in numbers]
    panels += [
        (f"rows/s, bodies of {size:,}", f"rows {size}") for size in (MANY, MORE) if f"rows {size}" in figures[OURS]
    ]
    picture, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 2.9), squeeze=False)
    for axis, (title, key) in zip(axes[0], panels, strict=True):
        its = {server: found[key]["median"] for server, found in figures.items() if key in found}
        names = list(its)[::-1]
        bars = axis.barh(
            names, [its[name] for name in names], color=["#2563eb" if n == OURS else "#b6bcc6" for n in names]
        )
        labels = [f"{its[name]:,.0f}" if its[name] else "refused" for name in names]
        axis.bar_label(bars, labels, padding=3, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlim(0, max(its.values()) * 1.35)
        axis.set_xticks([])
        axis.tick_params(labelsize=8, length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    form = FORMS[figures[OURS]["form"]]
    picture.suptitle(f"Forest of 100 trees, one core each; served here as {form}", fontsize=10)
    picture.tight_layout()
    picture.savefig(path, dpi=110)
    plt.close(picture)
