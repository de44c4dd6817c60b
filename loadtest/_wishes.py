"""Wishes: what a workload may ask of the shop, checked before anything of it is sent.

The shop rightly refuses what breaks the protocol, and the audit has to be sure that it does not
refuse for that. So a workload's mistake is an exception in the workload, which names the argument.
Knows no socket.
"""

from functools import lru_cache
from typing import TypeGuard
from unicodedata import normalize

from _keys import key_number
from _requests import Items

from sportshop.messages import FRAME_BYTES_MAX, ORDERS_LIMIT_MAX, receipt_bytes_max
from sportshop.names import has_control_characters
from sportshop.orders import ITEMS_MAX, QUANTITY_MAX
from sportshop.products import NAME_CHARACTERS_MAX

WISHES_MAX = 1_000
"""As many orders may be sent before the first answer: as deep as a shop has to read ahead."""
SHOWN_CHARACTERS = 40
SHOWN_MAX = 10**18  # no number that is longer helps a reader
CHECKED_MAX = 10_000


class Spellings:
    """The shop's own spelling of its products' names, as far as it has told them.

    Names are the same if their NFC forms are; an answer has the product's own. Asked in just that,
    an answer can be compared with what was asked for character by character.
    """

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._by_nfc: dict[str, str] = {}
        self.checked: set[tuple[str, int]] = set()
        """Items that were found right as they are."""

    def learn(self, name: str) -> None:
        """Note a name that the shop told."""
        if name not in self._exact:
            self._exact.add(name)
            self._by_nfc.setdefault(normalize("NFC", name), name)
            self.checked.clear()

    def of(self, name: str) -> str:
        """Return the name as the shop writes it, or as it would."""
        if name in self._exact or name.isascii():
            return name
        form = normalize("NFC", name)
        if len(form) > NAME_CHARACTERS_MAX:  # NFC can be the longer form, and too long to be sent
            return self._by_nfc.get(form, name)
        return self._by_nfc.get(form, form)

    def has_told(self, name: str) -> bool:
        """Tell whether the shop has told of a product of just this name."""
        return name in self._exact


def checked_items(items: object, spellings: Spellings, argument: str = "items") -> Items:
    """Return the items of an order, each a product's name and a quantity, as they are sent.

    Raises TypeError if they are not a tuple or a list of 1 to ITEMS_MAX pairs of str and int, and
    ValueError if a name or a quantity is not one that an order may have, or the names are too long
    for a receipt.
    """
    if _are_known(items, spellings):
        return items
    if not isinstance(items, tuple | list):
        raise TypeError(
            f'{argument}: expected a tuple of pairs such as (("Ball", 1),), got {_kind(items)}'
        )
    if not 1 <= len(items) <= ITEMS_MAX:
        raise ValueError(f"{argument}: expected 1 to {ITEMS_MAX}, got {len(items)}")
    asked = tuple(
        _checked_item(item, spellings, argument, number) for number, item in enumerate(items)
    )
    if not fit_a_receipt(asked):
        raise ValueError(
            f"{argument}: expected names whose receipt fits {FRAME_BYTES_MAX:,} bytes, got"
            f" {len(asked)} that don't"
        )
    return asked


def fit_a_receipt(items: Items) -> bool:
    """Tell whether the receipt of an order fits a message: otherwise a shop has to refuse it."""
    return receipt_bytes_max(name for name, _ in items) <= FRAME_BYTES_MAX


def _are_known(items: object, spellings: Spellings) -> TypeGuard[Items]:
    """Tell whether all were found right before, as they are: nearly always, and quick to see.

    Types are looked at first, since 1, 1.0 and True are the same to a set.
    """
    if type(items) is not tuple or not 1 <= len(items) <= ITEMS_MAX:
        return False
    for item in items:
        if not (type(item) is tuple and len(item) == 2):
            return False
        if not (type(item[0]) is str and type(item[1]) is int and item in spellings.checked):
            return False
    return True


def checked_basket(items: object, spellings: Spellings) -> Items:
    """Return the items of an order of several. Raises TypeError, ValueError."""
    basket = checked_items(items, spellings)
    if len(basket) < 2:
        raise ValueError("items: expected 2 or more, so that one can be left out, got 1")
    return basket


def checked_key(key: object, worker: int, tag: str) -> tuple[int, str]:
    """Return the number and the text of a key that this run made: of others, nobody knows whose.

    Raises TypeError, ValueError.
    """
    if not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], str)):
        raise TypeError(f"key: expected what new_key() returned, got {_kind(key)}")
    number, text = key
    if key_number(text, tag) != (worker, number):
        raise ValueError(f"key: expected one that this run made, got {text[:SHOWN_CHARACTERS]!a}")
    return number, text


def checked_wishes(wishes: object, spellings: Spellings) -> list[Items]:
    """Return what several orders are of, 1 to WISHES_MAX. Raises TypeError, ValueError."""
    if not isinstance(wishes, tuple | list):
        raise TypeError(
            f"wishes: expected a list of items, one for each order, got {_kind(wishes)}"
        )
    if not 1 <= len(wishes) <= WISHES_MAX:
        raise ValueError(f"wishes: expected 1 to {WISHES_MAX:,}, got {len(wishes)}")
    return [
        checked_items(items, spellings, f"wishes[{number}]") for number, items in enumerate(wishes)
    ]


def checked_flag(flag: object, argument: str) -> bool:
    """Return whether something is asked for. Raises TypeError."""
    if type(flag) is not bool:  # 2 would be taken for true, and be counted as two
        raise TypeError(f"{argument}: expected True or False, got {_kind(flag)}")
    return flag


def checked_limit(limit: object, argument: str = "limit", least: int = 1) -> int:
    """Return how many orders are asked for. Raises TypeError, ValueError."""
    return _whole(limit, argument, least, ORDERS_LIMIT_MAX)


def _checked_item(
    item: object, spellings: Spellings, argument: str, number: int
) -> tuple[str, int]:
    where = f"{argument}[{number}]"
    if not isinstance(item, tuple | list):
        raise TypeError(f"{where}: expected a pair of name and quantity, got {_kind(item)}")
    if len(item) != 2:
        raise ValueError(f"{where}: expected a pair of name and quantity, got {len(item)} values")
    name, quantity = item
    if type(name) is not str:
        raise TypeError(f"{where}: expected a product's name, got {_kind(name)}")
    problem = _problem_of_name(name)
    if problem:
        raise ValueError(f"{where}: expected a product's name {problem}")
    asked = spellings.of(name), _whole(quantity, f"{where}: quantity", 1, QUANTITY_MAX)
    if asked[0] == name and len(spellings.checked) < CHECKED_MAX and _always_fits(name):
        spellings.checked.add(asked)
    return asked


@lru_cache(maxsize=10_000)
def _always_fits(name: str) -> bool:
    """Tell whether so short a name never makes a receipt too long, whatever stands beside it."""
    return fit_a_receipt(((name, 1),) * ITEMS_MAX)


@lru_cache(maxsize=10_000)
def _problem_of_name(name: str) -> str:
    """Return what a name would have to be and is not, or nothing."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        return f"of 1 to {NAME_CHARACTERS_MAX} characters, got {len(name)}"
    if has_control_characters(name):
        return f"without control characters, got {name[:SHOWN_CHARACTERS]!a}"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return f"without surrogates, got {name[:SHOWN_CHARACTERS]!a}"
    return ""


def _whole(number: object, argument: str, least: int, most: int) -> int:
    if type(number) is not int:  # neither True, which is an int to Python, nor 2.0
        raise TypeError(
            f"{argument}: expected a whole number from {least} to {most:,}, got {_kind(number)}"
        )
    if not least <= number <= most:
        got = f"{number:,}" if abs(number) <= SHOWN_MAX else "a number of many digits"
        raise ValueError(f"{argument}: expected {least} to {most:,}, got {got}")
    return number


def _kind(value: object) -> str:
    """Return what something is, and how it looks if that is short."""
    if isinstance(value, str | int | float | None):
        return f"{type(value).__name__} {ascii(value)[:SHOWN_CHARACTERS]}"
    return type(value).__name__


def is_askable(name: str) -> bool:
    """Tell whether an order may name a product so."""
    return not _problem_of_name(name)
