"""docs/etl.md names every key of an ETL's YAML, every word that a key accepts, and every function."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

import pytest

from tests.usecase.test_reference import NOT_IN_YAML, blocks_of, parts
from updraft.defaults import ROOT
from updraft.etl.expression import ARITIES
from updraft.etl.schema import Etl
from updraft.usecase.load_blocks import LoadBlock
from updraft.usecase.schema import UseCase

PAGE = (ROOT / "docs" / "etl.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PAGE))))
MODELS = [model for model in blocks_of(Etl, set()) if model not in set(blocks_of(UseCase, set()))]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_key_and_each_word_is_there(model: Any) -> None:
    keys = set(model.model_fields) - (NOT_IN_YAML if model is Etl else set())
    assert keys <= WORDS, keys - WORDS
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            words = {str(word) for word in get_args(part)} if get_origin(part) is Literal else set()
            assert words <= WORDS or "int64" in words, words - WORDS


def test_stores_and_functions_are_there() -> None:
    assert set(LoadBlock.model_fields) <= WORDS and set(ARITIES) <= WORDS
    assert {"Etl", "Clean", "Outliers", "Fill", "LoadBlock"} <= {model.__name__ for model in MODELS}
