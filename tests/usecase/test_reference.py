"""docs/usecase.md names every key of a YAML, every word that a key accepts, and every plain default."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest

from updraft.defaults import ROOT
from updraft.model.casts import Cast
from updraft.model.reading import Reading
from updraft.usecase import blocks
from updraft.usecase.blocks import Part
from updraft.usecase.schema import UseCase
from updraft.usecase.source_blocks import SourceBlock

PAGE = (ROOT / "docs" / "usecase.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"[\w.%-]+", " ".join(re.findall(r"`([^`]+)`", PAGE))))
NOT_IN_YAML = {"name", "suite", "columns", "configuration_sha256"}


def blocks_of(model: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield the models that a model's fields hold, itself included."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, (Part, Reading)):
                yield from blocks_of(part, seen)


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType, dict, tuple, list):
        for argument in get_args(annotation):
            yield from parts(argument)


MODELS = [model for model in blocks_of(UseCase, set()) if not model.__module__.endswith("demo_block")]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_key_and_each_word_is_there(model: Any) -> None:
    keys = set(model.model_fields) - (NOT_IN_YAML if model is UseCase else set())
    assert keys <= WORDS, keys - WORDS
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            words = {str(word) for word in get_args(part)} if get_origin(part) is Literal else set()
            assert words <= WORDS, words - WORDS


def test_defaults_are_those_of_the_code() -> None:
    for key in ("quarantine_budget", "deduplicate", "folds", "owner", "task", "promote"):
        default = str(UseCase.model_fields[key].default)
        (row,) = re.findall(rf"^\| `{key}` \| `?([^`|]+?)`? \|", PAGE, re.M)
        assert row == default.lower(), key
    for block, key in (
        (blocks.Retry, "tries"), (blocks.Retry, "delay_seconds"), (blocks.Retry, "timeout_minutes"),
        (blocks.Impute, "neighbors"), (blocks.Tfidf, "min_df"),
    ):  # fmt: skip
        assert re.search(rf"`{key}` \({block.model_fields[key].default:g}\b", PAGE), key
    gate = blocks.Gate.model_fields
    assert (
        f"rule: {gate['rule'].default}, margin: {gate['margin'].default}, interval: {gate['interval'].default}" in PAGE
    )
    assert ", ".join(f"{key}: {field.default}" for key, field in blocks.Rollout.model_fields.items()) in PAGE
    assert set(get_args(Cast)) <= WORDS and set(SourceBlock.model_fields) <= WORDS
