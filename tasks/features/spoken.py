"""What is said for what is written: tokens of a transcript as spoken English words."""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SYMBOLS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at"}
_CURRENCIES = {"$": "dollar", "£": "pound", "€": "euro"}
_CONTRACTION = re.compile(
    "(?:(do|does|did|is|was|were|are|has|have|had|ca|wo|could|would|should|must)(nt)"
    "|(i)(m)|(i|you|we|they|could|would|should|must)(ve)|(you|they)(re)|(you|they|it)(ll)"
    "|(that|he|she|there|here|where|what|who)(s))"
)
_APOSTROPHES = str.maketrans("‘’ʼ`´", "'''''")

_PART = re.compile(
    r"(?P<currency>[$£€])?(?P<number>\d+(?:,\d{3})*)(?:\.(?P<decimals>\d+))?(?P<suffix>(?:st|nd|rd|th|'?s)(?![a-z]))?"
    r"|(?P<word>'?[a-z]+(?:'[a-z]+)*)"
    r"|(?P<symbol>[&%+=@])"
)


def spoken_words(token: str) -> list[str]:
    """The lower-case words, of letters and apostrophes, that are said for one token; none for mere punctuation.

    ``"$5"`` gives five dollars, ``"1990s,"`` nineteen nineties, ``"co-star"`` co star, ``"--"`` nothing.
    """
    plain = unicodedata.normalize("NFKD", token.translate(_APOSTROPHES).lower())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words: list[str] = []
    for part in _PART.finditer(plain):
        if part["word"]:
            words.append(with_apostrophe(part["word"]))
        elif part["symbol"]:
            words.append(_SYMBOLS[part["symbol"]])
        else:
            words += _number(part)
    return words


def with_apostrophe(word: str) -> str:
    """A lower-case contraction as it is spelled, of one written as CMU-MOSI writes it: ``dont`` gives ``don't``."""
    if not (contraction := _CONTRACTION.fullmatch(word)):
        return word
    first, rest = filter(None, contraction.groups())
    return f"{first}n't" if rest == "nt" else f"{first}'{rest}"


def _number(part: re.Match) -> list[str]:
    digits, decimals, suffix = part["number"].replace(",", ""), part["decimals"], part["suffix"] or ""
    if decimals:
        words = [*_cardinal(int(digits)), "point", *(_ONES[int(digit)] for digit in decimals)]
    elif len(digits) > 12 or (digits[0] == "0" and len(digits) > 1):  # a code, said digit by digit
        words = [_ONES[int(digit)] for digit in digits]
    elif len(part["number"]) == 4 and not part["currency"]:
        words = _year(int(digits))
    else:
        words = _cardinal(int(digits))
    if suffix.endswith("s"):
        words[-1] = _plural(words[-1])
    elif suffix:
        words[-1] = _ordinal(words[-1])
    if part["currency"]:
        unit = _CURRENCIES[part["currency"]]
        words.append(unit if words == ["one"] else _plural(unit))
    return words


def _cardinal(number: int) -> list[str]:
    for scale, name in _SCALES:
        if number >= scale:
            count, rest = divmod(number, scale)
            return [*_cardinal(count), name, *(_cardinal(rest) if rest else [])]
    if number < 20:
        return [_ONES[number]]
    tens, ones = divmod(number, 10)
    return [_TENS[tens - 2], *([_ONES[ones]] if ones else [])]


def _year(number: int) -> list[str]:
    """Four digits as years are said; 2000 to 2009 and what is no year of our age, as numbers."""
    century, rest = divmod(number, 100)
    if not 1100 <= number < 2100 or century == 20 and rest < 10:
        return _cardinal(number)
    if rest == 0:
        return [*_cardinal(century), "hundred"]
    return [*_cardinal(century), *(["oh"] if rest < 10 else []), *_cardinal(rest)]


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return word[:-1] + "ieth" if word.endswith("y") else word + "th" if not word.endswith("t") else word + "h"


def _plural(word: str) -> str:
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")
