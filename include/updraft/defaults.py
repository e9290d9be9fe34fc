"""Defaults that more than one room needs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATABASE = "updraft"  # of a MongoDB URL that names none
