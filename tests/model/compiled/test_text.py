"""A text's terms and weights are those of scikit-learn's TfidfVectorizer, to the bit."""

from __future__ import annotations

import random
import unicodedata
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.strange_texts import EMPTY, LETTERS, LONG_TEXTS, strange_texts
from updraft.learning.compile.text import compile_text
from updraft.model.compiled.text import TextInput

SEEN = [
    "Free prize, free entry!",
    "İstanbul is große Straße",
    "call me at 10pm",
    "日本語 テキスト ab",
    *LETTERS.values(),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"ngram_range": (1, 2), "sublinear_tf": True},
    {"ngram_range": (2, 4)},
    {"ngram_range": (1, 3), "sublinear_tf": True, "max_features": 9},
    {"min_df": 2},
]


def both(options: dict[str, Any]) -> tuple[TfidfVectorizer, TextInput]:
    vectorizer = TfidfVectorizer(**options).fit([*SEEN, *(text.lower() for text in SEEN)])
    return vectorizer, TextInput(compile_text(vectorizer, 0))


def assert_equal(vectorizer: TfidfVectorizer, compiled: TextInput, texts: list[str]) -> None:
    expected = vectorizer.transform(texts)
    for row, text in enumerate(texts):
        start, end = expected.indptr[row : row + 2]
        places, numbers = compiled.terms(text)
        assert places == expected.indices[start:end].tolist(), text[:80]
        assert numbers == expected.data[start:end].tolist(), text[:80]


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("options", OPTIONS)
def test_strange_texts_have_scikit_learns_terms_and_weights(options: dict[str, Any]) -> None:
    vectorizer, compiled = both(options)
    strange = strange_texts(SEEN, list(vectorizer.vocabulary_), np.random.default_rng(1))
    assert_equal(vectorizer, compiled, [*SEEN, *strange, *EMPTY, *LONG_TEXTS])
    assert compiled.terms(None) == compiled.terms("") == ([], [])


@pytest.mark.usefixtures("takes_long")
def test_every_character_stands_in_a_word_or_between_words_as_in_scikit_learn() -> None:
    every = [chr(code) for code in [*range(0xD800), *range(0xE000, 0x32400), *range(0xE0000, 0xE0200), 0x10FFFF]]
    texts = [f"ab{letter}cd {letter}x{letter}" for letter in every]
    for start in range(0, len(texts), 10_000):
        joined = " ".join(texts[start : start + 10_000])
        vectorizer = TfidfVectorizer(ngram_range=(1, 2)).fit([joined])
        assert_equal(vectorizer, TextInput(compile_text(vectorizer, 0)), [joined])


def test_texts_of_random_characters_have_scikit_learns_terms() -> None:
    draw = random.Random(4)
    letters = "".join(LETTERS.values()) + "aAbB .,'-_" + "".join(chr(draw.randrange(0x250)) for _ in range(50))
    texts = ["".join(draw.choice(letters) for _ in range(draw.randrange(60))) for _ in range(3000)]
    texts += [unicodedata.normalize(form, text) for text in texts[:500] for form in ("NFC", "NFD", "NFKC", "NFKD")]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts[::3])
    assert_equal(vectorizer, TextInput(compile_text(vectorizer, 0)), texts)


def test_a_term_may_repeat_as_often_as_a_text_is_long() -> None:
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(["aa bb", "bb"])
    texts = [f"{'aa ' * count}{'bb ' * (count // 3)}" for count in [*range(1, 1200, 7), 998, 999, 1000, 1001, 80_000]]
    assert_equal(vectorizer, TextInput(compile_text(vectorizer, 0)), texts)


def test_columns_that_no_tree_asks_for_are_left_out_after_the_texts_length_is_known() -> None:
    vectorizer, whole = both({"ngram_range": (1, 2)})
    about = compile_text(vectorizer, 0).model_copy(update={"kept": [1, 5]})
    part, values = TextInput(about), [*SEEN, None]
    into, expected = np.empty((len(values), 2)), np.empty((len(values), whole.width))
    part.fill(values, into)
    whole.fill(values, expected)
    assert (into == expected[:, [1, 5]]).all() and into.any()
    assert [list(part.one(value)) for value in values] == into.tolist()


@pytest.mark.parametrize("options", [{"analyzer": "char"}, {"stop_words": ["is"]}, {"norm": "l1"}, {"binary": True}])
def test_other_vectorizers_are_not_compiled(options: dict[str, Any]) -> None:
    with pytest.raises(NotCompiled, match=f"TF-IDF with {next(iter(options))}="):
        both(options)


def test_terms_of_more_words_than_a_service_should_look_up_are_not_compiled() -> None:
    with pytest.raises(NotCompiled, match="longer than 10 words"):
        both({"ngram_range": (1, 11)})
