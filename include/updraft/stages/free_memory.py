"""How much more memory this process may take: of the machine, of its containers (cgroups v1, v2), by its own limits."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from updraft.errors import UserError

VARIABLE = "UPDRAFT_MEMORY"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
NO_LIMIT = 2**60  # cgroups v1 write a number near 2 ** 63 where there is none
# The files of a limit and of what is used, and the parts of memory.stat that the kernel takes back before it kills.
V1, V2 = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
)
ARENA = 72 * 2**20  # of address space that each thread reserves: its stack, and glibc's heap for it


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that this process may still take, and could at most if nobody else took any; what sets that limit.

    `of_a_thread` are lost to each thread that is started.
    """

    free: int
    most: int
    origin: str
    of_a_thread: int = 0


def free_memory(environ: Mapping[str, str], root: Path = Path("/")) -> FreeMemory:
    """Return the tightest limit; UPDRAFT_MEMORY, what the process may take in all, replaces what is found.

    Swap does not count. Pages of files that are only cached count as free.
    """
    own = psutil.Process().memory_info().rss
    if value := environ.get(VARIABLE, "").strip():
        free = max(0, _parse(value) - own)
        return FreeMemory(free, free, f"{VARIABLE} {value}")
    machine = psutil.virtual_memory()
    limits = [FreeMemory(machine.available, machine.total - own, "the machine"), *_own_limits(), *_cgroups(root, own)]
    return min(limits, key=lambda each: each.free)


def _parse(value: str) -> int:
    """Parse a number of bytes: `8GB`, `8Gi`, `8g` as Docker writes it, `8000000000`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", value.lower())
    if not match:
        raise UserError(f"{VARIABLE}: {value!r} is no amount of memory; expected a number with a unit, as 8GB or 512Mi")
    return int(float(match[1]) * UNITS[match[2] or ""])


def _own_limits() -> Iterator[FreeMemory]:
    used = psutil.Process().memory_info().vms
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield FreeMemory(limit - used, limit - used, "the process's limit of address space (ulimit -v)", ARENA)


def _cgroups(root: Path, own: int) -> Iterator[FreeMemory]:
    """Yield the limits of this process's cgroup and of those around it; a container sees its own as the topmost."""
    file = root / "proc/self/cgroup"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from _limits_up(root / "sys/fs/cgroup/memory", path, V1, own)
        elif not controllers:
            yield from _limits_up(root / "sys/fs/cgroup", path, V2, own)


def _limits_up(mount: Path, path: str, files: tuple[str, str, tuple[str, str]], own: int) -> Iterator[FreeMemory]:
    group = mount / path.lstrip("/")
    for folder in [group, *(each for each in group.parents if each == mount or mount in each.parents)]:
        limit, used = (_number(folder / name) for name in files[:2])
        if limit is None or used is None or limit >= NO_LIMIT:
            continue
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        free = limit - used + sum(int(statistics.get(name, 0)) for name in files[2])
        yield FreeMemory(free, max(free, limit - own), "the container's memory limit")


def _number(file: Path) -> int | None:
    """Read a number; None where there is no such file, or no limit in it."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
