"""Texts to certify a text model with: what nobody writes, and what was seen, spoilt."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SPOILT = 200  # seen texts that are spoilt, and made up of terms
LETTERS = {
    "combining accents": "cafe\u0301 nai\u0308ve a\u0301\u0301\u0301b \u0301lone",
    "case": "İSTANBUL I\u0307x STRASSE ẞß ǅ ǈ \ufb01ne \u017fharp ΑΣ ας ŉ K\u212aelvin \u2126hm DŽ ᏸᲐ",
    "joiners": "wo\u200drd wo\u200cxy \u200b\u200b ab\u00adcd x\ufeffy a\u2060b",
    "right to left": "שלום עולם مرحبا بالعالم \u202eabc\u202c \u0661\u0662\u0663 لا",
    "emoji": "👩\u200d👩\u200d👧 ❤\ufe0f 🇩🇪 1\ufe0f\u20e3 🏴\U000e0067\U000e0062 ok👍ok",
    "scripts": "日本語テキスト 한국어 ไทยภาษา हिन्दी ᚠᚢ \U0001d518\U0001d52b\U0001d526 ①②③ ½¾ x² Ⅷ",
    "marks": "don't e-mail a_b __init__ _ __ a.b.c x'y \u2019s £5,000.00 http://x.y/?q=a+b a\u00a0b a\u2028b a\x1cb",
    "control": "\x00\x01 a\x00b \x7f \x85 \ufffd \uffff \U0010ffff \ue000x",
}
EMPTY = ["", " ", "\n\t\r\x0b\x0c", "a", "a b c", "!", "\u200d", "0", "_", "the and of to", "zzqx qqzv"]
# Each as long as a service's body may well be: they take time in proportion, or the training would never end.
LONG_TEXTS = ["a" * 250_000, "ab " * 83_000, "a." * 125_000, "e\u0301" * 125_000, "İ" * 250_000, "\u200d" * 250_000]
SPOIL: list[Callable[[str], str]] = [
    str.upper,
    str.title,
    str.swapcase,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace(" ", "\u200d"),
    lambda text: text.replace(" ", ""),
    lambda text: " ".join(reversed(text.split())),
    lambda text: f"{text} {text}",
    lambda text: text * 40,
    lambda text: text[: len(text) // 2],
]


def strange_texts(seen: Sequence[Any], terms: Sequence[str], random: np.random.Generator) -> list[str]:
    """Return texts of strange letters, seen ones that are spoilt, and known terms in a random order."""
    spoilt = [SPOIL[n % len(SPOIL)](str(seen[int(random.integers(len(seen)))])[:5_000]) for n in range(SPOILT)]
    mixed = [
        " ".join(terms[n] for n in random.integers(len(terms), size=1 + size % 60).tolist()) for size in range(SPOILT)
    ]
    letters = list(LETTERS.values())
    beside = [f"{letters[n % len(letters)]} {spoilt[n]}" for n in range(SPOILT // 2)]
    return [*EMPTY, *letters, *spoilt, *mixed, *beside]
