"""What has to load with the packages of the image `serving`, and what is not there: a script that prints it."""

from __future__ import annotations

STARTS = """
import ctypes, importlib.util, pathlib, sys
import serving.app, serving.server.rsgi, serving.settings
(library,) = pathlib.Path(importlib.util.find_spec("lightgbm").origin).parent.glob("lib/lib_lightgbm.*")
assert ctypes.PyDLL(str(library)).LGBM_BoosterCreateFromModelfile
print(*(name for name in ("joblib", "pandas", "sklearn", "scipy") if importlib.util.find_spec(name)))
"""
