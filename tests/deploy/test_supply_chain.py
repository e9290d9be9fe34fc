"""deploy/github/supply_chain.sh: what it writes. Whether PyPI knows of a vulnerability is not asked here."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from updraft.defaults import ROOT

SCRIPT = ROOT / "deploy" / "github" / "supply_chain.sh"


def test_each_lock_has_a_bill_of_materials_with_all_its_packages_and_hashes(takes_long: None, tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPT, tmp_path / "sbom"], env={**os.environ, "AUDIT": "off"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    locks = {"requirements.txt", *(f"serving/{path.name}" for path in (ROOT / "serving").glob("requirements*.txt"))}
    written = {path.name: path for path in (tmp_path / "sbom").iterdir()}
    assert {*written} == {f"{lock.removesuffix('.txt').replace('/', '-')}.cdx.json" for lock in locks}
    for lock in locks:
        components = json.loads(written[f"{lock.removesuffix('.txt').replace('/', '-')}.cdx.json"].read_text())[
            "components"
        ]
        found = {(each["name"], each["version"]) for each in components}
        pinned = re.findall(r"^([a-z0-9._-]+)(?:\[\S+\])?==([^ ;]+)", (ROOT / lock).read_text(encoding="utf-8"), re.M)
        assert found == set(pinned) and len(found) > 20
        assert all(reference["hashes"] for each in components for reference in each["externalReferences"])


def test_without_a_folder_or_packages_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "supply_chain: expected the folder to write to\n")
