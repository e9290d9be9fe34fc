"""Environments with packages that are not ours, each made once, in a folder that outlives the clone."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

OUT_OF_REACH = ("ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT")  # as npm names it


def python_with(folder: Path, *packages: str) -> Path:
    """Return the Python of an environment with these packages, and with numpy and scikit-learn as this one has them."""
    pins = sorted([*packages, *(f"{name}=={version(name)}" for name in ("numpy", "scikit-learn"))])
    digest = hashlib.sha256(f"{sys.version_info[:2]} {pins}".encode()).hexdigest()[:12]
    environment = folder / digest
    python, made = environment / "bin" / "python", environment / "made"
    environment.mkdir(parents=True, exist_ok=True)
    with (folder / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True, timeout=500)
            made.write_text("\n".join(pins))
    return python


def npm_modules(folder: Path, name: str, number: str) -> Path:
    """Return the `node_modules` of a package and what it depends on; skip where npm or its registry is absent."""
    place = folder / f"{name}-{number}"
    made = place / "made"
    place.mkdir(parents=True, exist_ok=True)
    with (folder / f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            if not shutil.which("npm"):
                pytest.skip(f"there is no npm, which has {name}")
            flags = ["--no-audit", "--no-fund", "--fetch-retries=1", "--ignore-scripts"]
            command = ["npm", "install", "--prefix", place, f"{name}@{number}", *flags]
            done = subprocess.run(command, timeout=550, capture_output=True, text=True)
            if any(code in done.stderr for code in OUT_OF_REACH):
                pytest.skip(f"npm cannot install {name} {number}: {' '.join(done.stderr.split())[:300]}")
            done.check_returncode()
            made.touch()
    return place / "node_modules"
