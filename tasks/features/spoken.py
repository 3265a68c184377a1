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
_SYMBOLS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "#": "number", "°": "degrees"}
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_PLURALS = {"penny": "pence"}
_CONTRACTION = re.compile(
    "(?:(do|does|did|is|was|were|are|has|have|had|ca|wo|could|would|should|must)(nt)"
    "|(i)(m)|(i|you|we|they|could|would|should|must)(ve)|(you|they)(re)|(you|they|it)(ll)"
    "|(that|he|she|there|here|where|what|who)(s))"
)
_APOSTROPHES = str.maketrans("‘’ʼ`´", "'''''")

_PART = re.compile(
    r"(?P<minus>(?<![\w.,:/-])[-−])?(?P<currency>[$£€])?"
    r"(?:(?P<hours>\d\d?):(?P<minutes>[0-5]\d)(?!\d)"
    r"|(?P<number>\d+(?:,\d{3})*|(?<![.\d])(?=\.\d))(?:\.(?P<decimals>\d+))?)"
    r"(?P<suffix>(?:st|nd|rd|th|'?s)(?![a-z]))?(?:[-–—](?=[$£€]?(?P<upper>\d+)(?![-–—\d])))?"
    r"|(?P<word>'?[a-z]+(?:'[a-z]+)*)"
    r"|(?P<symbol>[&%+=@°]|#(?=\d))"
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
    if part["hours"]:
        return [*_cardinal(int(part["hours"])), *_two_digits(int(part["minutes"]))]
    digits, decimals, suffix = part["number"].replace(",", ""), part["decimals"], part["suffix"] or ""
    if part["currency"]:
        words = _money(int(digits or 0), decimals, part["currency"])
    elif decimals:
        words = [*_whole(digits), "point", *(_ONES[int(digit)] for digit in decimals)]
    elif len(part["number"]) == 4 and digits[0] != "0":
        words = _year(int(digits))
    else:
        words = _whole(digits)
    if suffix.endswith("s"):
        words[-1] = _plural(words[-1])
    elif suffix:
        words[-1] = _ordinal(words[-1])
    is_range = part["upper"] and int(part["upper"]) > int(digits or 0)
    return [*(["minus"] if part["minus"] else []), *words, *(["to"] if is_range else [])]


def _whole(digits: str) -> list[str]:
    """A number; a code, which begins with 0 or is very long, digit by digit."""
    if len(digits) > 12 or (digits[:1] == "0" and len(digits) > 1):
        return [_ONES[int(digit)] for digit in digits]
    return _cardinal(int(digits)) if digits else []


def _money(whole: int, decimals: str | None, currency: str) -> list[str]:
    """``$3.50`` is three dollars fifty, ``$0.99`` ninety nine cents, ``$3.5`` (of ``$3.5 million``) has a point."""
    unit, part = _CURRENCIES[currency]
    if decimals and len(decimals) != 2:
        return [*_cardinal(whole), "point", *(_ONES[int(digit)] for digit in decimals), _plural(unit)]
    parts = int(decimals or 0)
    if parts and not whole:
        return [*_cardinal(parts), part if parts == 1 else _plural(part)]
    return [*_cardinal(whole), unit if whole == 1 else _plural(unit), *(_cardinal(parts) if parts else [])]


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
    return [*_cardinal(century), *(_two_digits(rest) or ["hundred"])]


def _two_digits(number: int) -> list[str]:
    """As they are said after a century or an hour: nothing for 0, oh five for 5."""
    return [*(["oh"] if number < 10 else []), *_cardinal(number)] if number else []


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return word[:-1] + "ieth" if word.endswith("y") else word + "th" if not word.endswith("t") else word + "h"


def _plural(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")
