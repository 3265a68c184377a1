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
        ("9:05", "nine oh five"),
        ("10:00,", "ten"),
        ("$3.50", "three dollars fifty"),
        ("$1.00", "one dollar"),
        ("$0.99", "ninety nine cents"),
        ("£0.01", "one penny"),
        ("£.20", "twenty pence"),
        ("$3.5", "three point five dollars"),
        (".5", "point five"),
        ("...5", "five"),
        ("-5", "minus five"),
        ("5-10", "five to ten"),
        ("5–10%", "five to ten percent"),
        ("$5-$10", "five dollars to ten dollars"),
        ("1990-1995", "nineteen ninety to nineteen ninety five"),
        ("24-7", "twenty four seven"),
        ("COVID-19", "covid nineteen"),
        ("C.E.O.", "c e o"),
        ("U.S.", "u s"),
        ("O'Brien's", "o'brien's"),
        ("rock'n'roll", "rock'n'roll"),
        ("#1", "number one"),
        ("#happy", "happy"),
        ("20°", "twenty degrees"),
        ("😀", ""),
        ("👍🏽great", "great"),
        ("–", ""),
        ("привет", ""),
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
