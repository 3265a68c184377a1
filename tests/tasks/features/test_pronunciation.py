"""Words of the dictionary are looked up, others are spelled or guessed."""

import numpy as np

from tasks.features.pronunciation import dictionary, guess, pronunciations

PHONES = set(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)


def test_every_reading_of_the_dictionary():
    assert pronunciations("read") == ("R EH D", "R IY D")
    assert pronunciations("'cause") == ("K AH Z",)
    assert pronunciations("'hello") == pronunciations("hello")
    assert len(dictionary()) > 120_000


def test_an_abbreviation_is_spelled():
    assert pronunciations("hdtv") == ("EY CH D IY T IY V IY",)


def test_unknown_words_are_guessed():
    assert pronunciations("blogosphere's") == (guess("blogospheres"),)
    # As the published implementation guesses them
    assert guess("spielbergish") == "S P IY L B ER IH NG"
    assert set(guess("a" * 60).split()) <= PHONES


def test_guesses_are_mostly_those_of_the_dictionary():
    """Words that the model was trained on: about three in four must be exact, or its gates or weights are mixed up."""
    words = [word for word in dictionary() if word.isalpha() and len(word) > 3]
    sample = np.random.default_rng(0).choice(words, 200, replace=False)
    exact = [guess(str(word)) in dictionary()[str(word)] for word in sample]
    assert np.mean(exact) > 0.65
    assert all(set(guess(str(word)).split()) <= PHONES for word in sample)
