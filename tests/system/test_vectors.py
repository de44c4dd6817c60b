"""The shop keeps to every dialogue in tests/vectors.

`fresh_shop` is a shop that has just been started from data/. What the dialogues say is in the
files, how they are played in vectors.py: this only gives each of them a name of its own in pytest.
"""

import pytest

from tests.system import vectors


@pytest.mark.parametrize("dialogue", vectors.load(), ids=lambda dialogue: dialogue.name)
def test_the_shop_keeps_to_the_dialogue(dialogue, fresh_shop):
    vectors.play(dialogue, fresh_shop.host, fresh_shop.port)
