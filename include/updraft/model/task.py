"""The kinds of learning task; a module of its own, so that the shell's completion need not import pydantic."""

from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
