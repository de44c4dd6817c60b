"""Names: the one rule for what products and users are called, and for when two are the same.

A new name has no blank at its ends, and no control, format, separator or surrogate character
anywhere; the one separator inside is the space U+0020. Two names are the same if they are equal
in Unicode's normalization form NFC (UAX #15): `é` is one character or two, and looks the same.
A name stays written as it was given. Stores may hold names from before this rule: they are found
exactly as they are, since whoever looks a name up looks for the exact one first.
Knows no product and no user.
"""

import unicodedata
from collections.abc import Iterable

SAME_CHARACTERS_RATIO_MAX = 4
"""A character decomposes into four at most, so the same name is at most so many times as long."""

_REFUSED = {
    "Cc": "control",
    "Cf": "format",
    "Cs": "surrogate",
    "Zl": "separator",
    "Zp": "separator",
    "Zs": "separator",
}
# Letters, marks and symbols by their category that are drawn as nothing: two names would look
# alike. Variation selectors are not among them: emoji are written with them.
_DRAWN_AS_NOTHING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


class BadName(ValueError):
    """A name that the rule refuses: what was expected, and which character of it is at fault."""

    def __init__(self, expected: str, at_fault: str = "") -> None:
        super().__init__(f"{expected}: {at_fault}" if at_fault else expected)
        self.expected = expected
        self.at_fault = at_fault


def check_name(text: str, characters_max: int) -> str:
    """Return a new name as it is, or raise BadName.

    The joiners U+200C and U+200D are format characters too, and are refused with the others: they
    are not seen, so `Ball` and `Ball` with a joiner would be two products. Emoji that are built
    with them, and Persian words that part with them, have to be written without. Characters that
    are private or not assigned are let through: to an older Unicode the newest emoji is one.
    """
    check_stored_name(text, characters_max)
    if text.isascii() and text[0] != " " != text[-1]:  # the rest was looked at already
        return text
    for place, character in enumerate(text, 1):
        kind = _kind_refused(character)
        if kind:
            raise BadName(f"expected no {kind} characters", _shown(place, character))
    for place in (1, len(text)):
        if text[place - 1] == " ":
            raise BadName("expected no blank at either end", _shown(place, " "))
    return text


def check_stored_name(text: str, characters_max: int) -> str:
    """Return a name that a store has already, or raise BadName: the rule before this one."""
    if not 1 <= len(text) <= characters_max:
        raise BadName(f"expected 1 to {characters_max} characters")
    if has_control_characters(text):
        place = next(n for n, character in enumerate(text, 1) if _is_control(character))
        raise BadName("expected no control characters", _shown(place, text[place - 1]))
    return text


def has_control_characters(text: str) -> bool:
    """Tell whether any character is a control character (Unicode category Cc)."""
    if text.isprintable():  # the usual case, and a hundred times faster than looking at each
        return False
    return any(map(_is_control, text))


def same_form(name: str, characters_max: int) -> str | None:
    """Return the form by which names are compared; None if it is too long to be any name's.

    The bound matters: normalizing 64 kB of accents takes seconds.
    """
    if len(name) > SAME_CHARACTERS_RATIO_MAX * characters_max:
        return None
    return unicodedata.normalize("NFC", name)


class OtherForms:
    """Finds the names that are not written in NFC: few, so that they fit memory always.

    Where several of them are the same name, the first by code points is meant.
    """

    def __init__(self, characters_max: int, names: Iterable[str] = ()) -> None:
        self._characters_max = characters_max
        self._by_form: dict[str, str] = {}
        self.add(names)

    def add(self, names: Iterable[str]) -> None:
        """Take names, of which only those matter that are not in NFC."""
        for name in names:
            form = same_form(name, self._characters_max)
            if form is not None and form != name:
                self._by_form[form] = min(name, self._by_form.get(form, name))

    def candidates(self, name: str) -> Iterable[str]:
        """Return how the same name may be written otherwise, the likeliest first."""
        form = same_form(name, self._characters_max)
        if form is None:
            return ()
        others = (form, self._by_form.get(form))
        return tuple(other for other in others if other is not None and other != name)


def printable(text: str, characters_max: int = 500) -> str:
    """Return a text in one line that does nothing to a terminal: escaped, its end if it is long.

    For names of files, which may have any byte: whoever reads an error has to see which it is.
    """
    if len(text) > characters_max:
        text = "…" + text[-characters_max:]
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def _kind_refused(character: str) -> str | None:
    if character == " ":
        return None
    if character in _DRAWN_AS_NOTHING:
        return "invisible"
    return _REFUSED.get(unicodedata.category(character))


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _shown(place: int, character: str) -> str:
    name = unicodedata.name(character, "")
    return f"character {place} is U+{ord(character):04X}{' ' if name else ''}{name}"
