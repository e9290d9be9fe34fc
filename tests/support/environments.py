"""Virtual environments of their own for tools that do not resolve with ours; made once, and kept between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from updraft.defaults import ROOT

KEPT = ROOT / ".venv" / "others"


def bin_of(*requirements: str) -> Path:
    """Return the folder with the programs of an environment that has these packages."""
    digest = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
    folder = KEPT / digest
    if not (folder / "complete").exists():
        uv = Path(sys.executable).with_name("uv")
        shutil.rmtree(folder, ignore_errors=True)
        environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, env=environ)
        install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *requirements]
        subprocess.run(install, check=True, env=environ)
        (folder / "complete").touch()
    return folder / "bin"
