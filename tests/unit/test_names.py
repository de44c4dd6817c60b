"""What a name is: which are let in, which are the same, and how they are shown."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sportshop import messages
from sportshop.catalogue import Catalogue
from sportshop.inventory import Bounds, Inventory
from sportshop.names import (
    BadName,
    OtherForms,
    check_name,
    check_stored_name,
    printable,
    same_form,
)
from sportshop.orders import Accepted, Item, Order, ProductNotFound, by_own_names
from sportshop.products import Product, Shelf
from sportshop.storage.memory import MemoryStore
from sportshop.users import NewUser, User
from tests.catalogues import CHEAP_HASH

NFC, NFD = "Bola de Vôlei", "Bola de Vo\u0302lei"
USER = User(1, "user1", "")


@pytest.mark.parametrize(
    "name",
    [
        "Ball",
        "a",
        "Bola de Vôlei",
        NFD,
        "Мяч",
        "كرة",
        "足球 大",
        'Ball\'s "Pro", 10 m; <b> & 100 %',
        "=1+1",
        "🏐",
        "❤️",
        "\U0001f3fd",
        "e\u0301",
        "\ue000",
        "\U0003fffd",
        "A  B",
        "x" * 200,
    ],
)
def test_a_name_that_can_be_read_and_typed_is_let_in(name: str) -> None:
    assert check_name(name, 200) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "expected 1 to 200 characters"),
        ("x" * 201, "expected 1 to 200 characters"),
        (" ", "expected no blank at either end: character 1 is U+0020 SPACE"),
        ("Ball ", "expected no blank at either end: character 5 is U+0020 SPACE"),
        (" Ball", "expected no blank at either end: character 1 is U+0020 SPACE"),
        (" Vôlei", "expected no blank at either end: character 1 is U+0020 SPACE"),
        ("Ball\u00a0", "no separator characters: character 5 is U+00A0 NO-BREAK SPACE"),
        ("\u3000Ball", "no separator characters: character 1 is U+3000 IDEOGRAPHIC SPACE"),
        ("Ball\u00a0Pro", "no separator characters: character 5 is U+00A0 NO-BREAK SPACE"),
        ("Ball\u2009Pro", "no separator characters: character 5 is U+2009 THIN SPACE"),
        ("Ball\u2028Pro", "no separator characters: character 5 is U+2028 LINE SEPARATOR"),
        ("Ball\u2029", "no separator characters: character 5 is U+2029 PARAGRAPH SEPARATOR"),
        ("\u200bBall", "no format characters: character 1 is U+200B ZERO WIDTH SPACE"),
        ("Ball\ufeff", "no format characters: character 5 is U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("Ba\u00adll", "no format characters: character 3 is U+00AD SOFT HYPHEN"),
        ("\u202ellaB", "no format characters: character 1 is U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("Ball\u200d", "no format characters: character 5 is U+200D ZERO WIDTH JOINER"),
        ("👩\u200d🚀", "no format characters: character 2 is U+200D ZERO WIDTH JOINER"),
        ("Ball\U000e0041", "no format characters: character 5 is U+E0041 TAG LATIN CAPITAL LETTER"),
        ("Ball\x00", "expected no control characters: character 5 is U+0000"),
        ("Ba\tll", "expected no control characters: character 3 is U+0009"),
        ("Ball\n", "expected no control characters: character 5 is U+000A"),
        ("Ball\x85", "expected no control characters: character 5 is U+0085"),
        ("\x1b[31mBall", "expected no control characters: character 1 is U+001B"),
        ("Ball\udcff", "expected no surrogate characters: character 5 is U+DCFF"),
        ("\ud83c", "expected no surrogate characters: character 1 is U+D83C"),
        ("\u3164", "no invisible characters: character 1 is U+3164 HANGUL FILLER"),
        ("Ball\u034f", "no invisible characters: character 5 is U+034F COMBINING GRAPHEME JOINER"),
        ("Ball\u17b5", "no invisible characters: character 5 is U+17B5 KHMER VOWEL INHERENT AA"),
        ("Ball\u2800", "no invisible characters: character 5 is U+2800 BRAILLE PATTERN BLANK"),
    ],
)
def test_a_name_that_could_be_taken_for_another_is_refused(name: str, expected: str) -> None:
    with pytest.raises(BadName) as caught:
        check_name(name, 200)
    assert expected in str(caught.value)


@given(st.text(st.characters(categories=["Cf", "Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=5))
def test_no_character_of_the_refused_kinds_is_let_in(text: str) -> None:
    with pytest.raises(BadName):
        check_name(f"A{text}B", 200)


@given(st.text(max_size=20))
def test_what_is_let_in_is_clean(text: str) -> None:
    try:
        check_name(text, 200)
    except BadName:
        return
    assert text == text.strip() != ""
    kinds = {unicodedata.category(character) for character in text if character != " "}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}


@pytest.mark.parametrize("name", [" ", "Ball ", "Ball\u00a0", "\u200bBall", "a\u2028b", NFD])
def test_a_name_that_a_store_has_already_is_held_to_the_rule_before(name: str) -> None:
    assert check_stored_name(name, 200) == name
    with pytest.raises(BadName, match="control"):
        check_stored_name(name + "\x07", 200)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NFC, NFD),
        ("\u212bngstrom", "\u00c5ngstrom"),
        ("\u212bngstrom", "A\u030angstrom"),
        ("\u212aayak", "Kayak"),  # the Kelvin sign
        ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("q\u0307\u0323", "q\u0323\u0307"),
        ("\u0958", "\u0915\u093c"),
    ],
)
def test_a_product_is_found_in_any_form_of_its_name(one: str, other: str) -> None:
    for own, asked in ((one, other), (other, one)):
        shelf = Shelf([Product(own, 100, 5), Product("Ball", 100, 5)], 0)
        assert shelf.find_all([asked]) == {asked: Product(own, 100, 5)}
        assert shelf.find_all([own, "Bat"]) == {own: Product(own, 100, 5)}
        assert shelf.own_name(asked) == own


@pytest.mark.parametrize(
    "asked", ["ball", "Ball ", " Ball", "Ball\u00a0", "Bal", "Bal\u2113", "\uff22all"]
)
def test_what_is_not_equal_by_nfc_is_not_the_same_name(asked: str) -> None:
    assert Shelf([Product("Ball", 100, 5)], 0).find_all([asked]) == {}


def test_of_two_forms_side_by_side_the_exact_one_is_meant() -> None:
    mixed = "Bola de Vo\u0302l\u00e9i"
    products = [Product(NFC, 100, 1), Product(NFD, 200, 2), Product("Ball ", 3, 3)]
    shelf = Shelf([*products, Product(mixed, 4, 4)], 0)
    for product in products:
        assert shelf.find_all([product.name]) == {product.name: product}
    assert shelf.own_name("Bola de Vo\u0302le\u0301i") == mixed


def test_of_two_other_forms_neither_of_which_is_asked_the_choice_is_always_the_same() -> None:
    first, second = "e\u0301\u00e9", "\u00e9e\u0301"
    for names in ([first, second], [second, first]):
        assert list(OtherForms(10, names).candidates("e\u0301e\u0301")) == ["éé", first]


def order(*items: tuple[str, int]) -> Order:
    return Order(USER, tuple(Item(*item) for item in items), "k")


def test_orders_go_by_the_products_own_names() -> None:
    vole, ball = Product(NFC, 100, 5), Product("Ball", 100, 5)
    asked = {NFD: vole, NFC: vole, "Ball": ball}
    orders = [order((NFD, 1), ("Ball", 2), (NFC, 3)), order(("Ball", 1)), order(("Bat", 1))]
    renamed, products = by_own_names(orders, asked, lambda _: True)
    assert products == {NFC: vole, "Ball": ball}
    assert renamed[0] == order((NFC, 1), ("Ball", 2), (NFC, 3))
    assert renamed[1:] == orders[1:]


def test_orders_that_name_everything_as_it_is_are_left_alone() -> None:
    orders, asked = [order(("Ball", 1))], {"Ball": Product("Ball", 100, 5)}
    assert by_own_names(orders, asked, lambda _: False) == (orders, asked)
    assert by_own_names(orders, asked, lambda _: False)[0] is orders


def test_an_order_whose_receipt_would_not_fit_by_the_own_names_keeps_those_asked() -> None:
    orders = [order((NFD, 1)), order((NFC, 1))]
    renamed, products = by_own_names(
        orders, {NFD: Product(NFC, 100, 5)}, lambda names: names != [NFC]
    )
    assert renamed == orders
    assert NFD not in products


def test_a_text_that_is_too_long_for_a_name_is_not_even_normalized() -> None:
    begun = time.perf_counter()
    assert same_form("e" + "\u0301\u0316" * 30_000, 64) is None  # takes seconds to normalize
    assert list(OtherForms(64, [NFD]).candidates("e" + "\u0301\u0316" * 30_000)) == []
    assert time.perf_counter() - begun < 0.5
    assert same_form("\u1f82" * 64, 64) == same_form(unicodedata.normalize("NFD", "ᾂ" * 64), 64)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/data/users.csv", "/srv/data/users.csv"),
        ("a b", "a b"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines", r"two\nlines"),
        ("ana\udcff", r"ana\udcff"),
        ("a\u202eb", r"a\u202eb"),
        ("vôlei", "vôlei"),
        ("x" * 600, "…" + "x" * 500),
    ],
)
def test_a_text_is_shown_in_one_line_that_does_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


HANGUL = unicodedata.normalize("NFD", "\ud55c" * 66)  # 594 bytes, and 198 in NFC


@pytest.mark.parametrize(("items", "fits"), [(1, True), (80, True), (100, False)])
def test_an_order_whose_receipt_would_not_fit_by_the_products_own_name_is_refused(
    items: int, fits: bool
) -> None:
    user = NewUser("user1", CHEAP_HASH)
    store = MemoryStore(Catalogue([Product(HANGUL, 100, 1_000)], [user]))
    inventory = Inventory(store, lambda *_: None, lambda: 0, Bounds())
    asked = unicodedata.normalize("NFC", HANGUL)
    buyer = store.users.find("user1")
    assert buyer is not None
    (outcome,) = inventory.commit([Order(buyer, (Item(asked, 1),) * items)])
    inventory.close()
    if not fits:
        assert outcome == ProductNotFound(asked, 0)
        return
    assert isinstance(outcome, Accepted)
    assert len(messages.encode_accepted(outcome)) <= messages.FRAME_BYTES_MAX
    assert {item.product_name for item in outcome.receipt.items} == {HANGUL}
