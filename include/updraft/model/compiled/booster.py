"""LightGBM's C API by ctypes: LightGBM's own Python package would import scipy."""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from updraft.model.prediction import Floats

RAW, ROW_MAJOR = 1, 1
DTYPES: dict[str, tuple[int, Any]] = {"float32": (0, ctypes.c_float), "float64": (1, ctypes.c_double)}
PARAMETERS = b"num_threads=1 verbosity=-1"
# LightGBM reads numbers up to its 1e-35, a float32 that is a little more, as 0. No threshold is near (`nodes.TINY`),
# so that twice as much is on the right side.
NEAR = 2e-35
SORTED_ROWS, SORTED_BY = 256, 16  # rows from which on they are put in order, and by how many columns


class NoLightGBM(ImportError):
    """LightGBM, or what it needs of the system, is not installed."""


@cache
def libraries() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """Load the library: as one whose calls release the GIL, and as one whose calls keep it."""
    spec = find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise NoLightGBM("needs LightGBM, which is not installed")
    name = "lib_lightgbm.dylib" if sys.platform == "darwin" else "lib_lightgbm.so"
    path = str(Path(spec.origin).parent / "lib" / name)
    try:
        found = ctypes.CDLL(path), ctypes.PyDLL(path)
    except OSError as error:
        hint = ": install libgomp1" if "libgomp" in str(error) else ""
        raise NoLightGBM(f"LightGBM does not load{hint}") from None
    for library in found:
        library.LGBM_GetLastError.restype = c_char_p
    found[0].LGBM_RegisterLogCallback(SILENT)
    return found


SILENT = ctypes.CFUNCTYPE(None, c_char_p)(lambda message: None)  # LightGBM would write to standard output


class Booster:
    """Trees whose sum is a score; made from a text that was written from checked nodes."""

    def __init__(self, text: str, width: int, dtype: str) -> None:
        self._many, self._one = libraries()
        self._handle, self._fast = c_void_p(), c_void_p()
        self._dtype, self._code, self._width = dtype, DTYPES[dtype][0], width
        self._row = DTYPES[dtype][1] * width
        _call(self._many.LGBM_BoosterLoadModelFromString, text.encode(), byref(c_int()), byref(self._handle))
        _call(
            self._many.LGBM_BoosterPredictForMatSingleRowFastInit, self._handle, c_int(RAW), c_int(0), c_int(-1),
            c_int(self._code), c_int32(width), PARAMETERS, byref(self._fast),
        )  # fmt: skip

    def one(self, row: Any) -> float:
        """Sum the trees for the buffer of one row, as `buffer` makes it.

        The call keeps the GIL: it takes microseconds, and two of them cannot meet in LightGBM's buffers.
        """
        result, count = c_double(), c_int64()
        if self._one.LGBM_BoosterPredictForMatSingleRowFast(self._fast, row, byref(count), byref(result)):
            raise _failed()
        return result.value

    def buffer(self, numbers: list[float]) -> Any:
        """Put a row's numbers into what `one` takes."""
        return self._row(*[2 * NEAR if 0.0 < number <= NEAR else number for number in numbers])

    def many(self, matrix: NDArray[Any]) -> Floats:
        """Sum the trees for each row of what `prepare` returned, without the GIL."""
        if len(matrix) < SORTED_ROWS:
            return self._many_in_order(matrix)
        order = _alike(matrix)
        result = np.empty(len(matrix))
        result[order] = self._many_in_order(np.ascontiguousarray(matrix[order]))
        return result

    def _many_in_order(self, matrix: NDArray[Any]) -> Floats:
        result, count = np.empty(len(matrix)), c_int64()
        _call(
            self._many.LGBM_BoosterPredictForMat, self._handle, matrix.ctypes.data_as(c_void_p), c_int(self._code),
            c_int32(len(matrix)), c_int32(self._width), c_int(ROW_MAJOR), c_int(RAW), c_int(0), c_int(-1), PARAMETERS,
            byref(count), result.ctypes.data_as(c_void_p),
        )  # fmt: skip
        if count.value != len(matrix):
            raise RuntimeError(f"LightGBM gave {count.value} scores of {len(matrix)} rows")
        return result

    def prepare(self, matrix: Floats) -> NDArray[Any]:
        """Convert a matrix to what the trees compare, as `buffer` does."""
        found = np.ascontiguousarray(matrix, dtype=self._dtype)
        near = (found > 0) & (found <= NEAR)
        if near.any():
            found = found.copy() if found is matrix else found
            found[near] = 2 * NEAR
        return found

    def __del__(self) -> None:
        if getattr(self, "_fast", None):
            self._many.LGBM_FastConfigFree(self._fast)
        if getattr(self, "_handle", None):
            self._many.LGBM_BoosterFree(self._handle)


def _alike(matrix: NDArray[Any]) -> NDArray[np.intp]:
    """Return an order of the rows in which neighbours are alike, so that they take the same ways through the trees.

    What one row has brought into the processor's caches then serves the next ones: half the time for a large forest.
    The columns with the fewest values come first.
    """
    sample = matrix[:: len(matrix) // SORTED_ROWS]
    values = [len(np.unique(sample[:, column])) for column in range(matrix.shape[1])]
    columns = sorted((column for column, count in enumerate(values) if count > 1), key=values.__getitem__)
    return np.lexsort([matrix[:, column] for column in columns[:SORTED_BY][::-1]] or [matrix[:, 0]])


def _call(function: Any, *arguments: Any) -> None:
    if function(*arguments):
        raise _failed()


def _failed() -> RuntimeError:
    return RuntimeError(f"LightGBM: {libraries()[1].LGBM_GetLastError().decode(errors='replace')}")
