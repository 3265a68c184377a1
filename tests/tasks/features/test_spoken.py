"""What is written becomes what is said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.features.spoken import spoken_words


@pytest.mark.parametrize(
    "token, said",
    [
        ("Movie,", "movie"),
        ("--", ""),
        ("...", ""),
        ("(umm)", "umm"),
        ("co-star", "co star"),
        ("don’t", "don't"),
        ("DONT", "don't"),
        ("IM", "i'm"),
        ("its", "its"),
        ("café", "cafe"),
        ("&", "and"),
        ("R&B", "r and b"),
        ("0", "zero"),
        ("13", "thirteen"),
        ("40", "forty"),
        ("21", "twenty one"),
        ("100", "one hundred"),
        ("342", "three hundred forty two"),
        ("2,199", "two thousand one hundred ninety nine"),
        ("1,000,000", "one million"),
        ("1999", "nineteen ninety nine"),
        ("1905", "nineteen oh five"),
        ("1900", "nineteen hundred"),
        ("2000", "two thousand"),
        ("2005", "two thousand five"),
        ("2011", "twenty eleven"),
        ("1990s", "nineteen nineties"),
        ("80'S", "eighties"),
        ("6s", "sixes"),
        ("1st", "first"),
        ("12th", "twelfth"),
        ("20th", "twentieth"),
        ("87TH", "eighty seventh"),
        ("3.05", "three point zero five"),
        ("007", "zero zero seven"),
        ("3D", "three d"),
        ("$5", "five dollars"),
        ("$1", "one dollar"),
        ("£2,000", "two thousand pounds"),
        ("50%", "fifty percent"),
        ("10:30", "ten thirty"),
    ],
)
def test_tokens_as_they_are_said(token, said):
    assert spoken_words(token) == said.split()


@given(st.text(max_size=20))
def test_any_text_gives_words_that_can_be_pronounced(token):
    assert all(re.fullmatch("'?[a-z]+(?:'[a-z]+)*", word) for word in spoken_words(token))


@given(st.integers(0, 10**12 - 1))
def test_numbers_can_be_read_back(number):
    ones = dict(zip("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
                    "sixteen seventeen eighteen nineteen".split(), range(20), strict=True))  # fmt: skip
    tens = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
    total = part = 0
    for word in spoken_words(f"{number:,}"):
        if word == "hundred":
            part *= 100
        elif word in scales:
            total, part = total + part * scales[word], 0
        else:
            part += ones.get(word, 0) + tens.get(word, 0)
    assert total + part == number
