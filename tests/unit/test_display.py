"""Tables on screens of any width: no digit is ever cut."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from sportshop import display
from sportshop.client import Amount, OrderList, PastOrder, Product, ProductList, Receipt, SoldItem

NAMES = ["Ball", "Limited Edition Match Ball of the Final", "足球" * 10, "x" * 50]
WIDTHS = [1, 2, 5, 10, 20, 30, *range(36, 84), 100, 120, 200, 1_000]


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return an iterator over terminals of every width, each there while it is looked at."""
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setenv("LINES", "24")

    def each() -> Iterator[int]:
        for width in WIDTHS:
            monkeypatch.setenv("COLUMNS", str(width))
            yield width

    return each()


def items() -> tuple[SoldItem, ...]:
    return tuple(
        SoldItem(name, 1_000_000 - n, Amount("99999999.99"), 999_999_990 + n)
        for n, name in enumerate(NAMES)
    )


def check(shown: str, screen: int, numbers: list[str], names: list[str]) -> None:
    """Check that every number stands there whole, and every name but for its folds."""
    lines = shown.splitlines()
    is_table = "━" in shown
    for number in numbers:
        assert any(number in line for line in lines), (screen, number)
    if is_table:
        assert max(cell_len(line) for line in lines if line[0] in "┏┃┡│└") <= screen
    unfolded = "".join(c for c in shown if c not in " │┃\n")
    for name in names:
        assert name.replace(" ", "") in unfolded or is_table
        assert len(name) > 8 or any(name in line for line in lines)


def test_orders_keep_every_digit(
    screens: Iterator[int], capsys: pytest.CaptureFixture[str]
) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 59, tzinfo=UTC)
    order = PastOrder(123_456_789_012, moment, items(), Amount("999999999999999.99"))
    numbers = ["123456789012", "2026-03-01 12:00:59 UTC", "999999999999999.99", "99999999.99"]
    numbers += [str(item.quantity) for item in items()]
    for screen in screens:
        display.show_orders(OrderList(123_456_789_012, (order,)))
        check(capsys.readouterr().out, screen, numbers, NAMES)


def test_products_keep_every_digit(
    screens: Iterator[int], capsys: pytest.CaptureFixture[str]
) -> None:
    products = tuple(
        Product(name, Amount("99999999.99"), 1_000_000_000 - n) for n, name in enumerate(NAMES)
    )
    numbers = ["99999999.99", *(str(product.stock) for product in products)]
    for screen in screens:
        display.show_products(ProductList(1, products))
        check(capsys.readouterr().out, screen, numbers, NAMES)


def test_a_receipt_keeps_every_digit(
    screens: Iterator[int], capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = Receipt(2**62, items(), Amount("399999999999999.96"), 2**62, False)
    numbers = ["99999999.99", f"order {2**62}: 399999999999999.96 in total"]
    numbers += [str(number) for item in items() for number in (item.quantity, item.stock)]
    for screen in screens:
        display.show_receipt(receipt)
        check(capsys.readouterr().out, screen, numbers, NAMES)


def test_a_table_of_sixty_columns_shows_a_quantity_of_five_digits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    sold = SoldItem("Ball", 12345, Amount("1.00"), 7)
    display.show_orders(OrderList(9, (PastOrder(7, moment, (sold,), Amount("12345.00")),)))
    shown = capsys.readouterr().out
    assert "12345" in shown.replace("12345.00", "")


def test_a_screen_too_narrow_for_a_table_gets_a_line_for_each_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    display.show_products(ProductList(1, (Product("[red]Ball\x1b", Amount("1.00"), 12345),)))
    assert capsys.readouterr().out == (
        "#: 1\nproduct: [red]Ball\N{REPLACEMENT CHARACTER}\nprice: 1.00\nin stock: 12345\n\n"
    )


def test_a_table_where_the_output_is_ascii_is_made_of_ascii(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    with open(f"{tmp_path}/shown", "w+", encoding="ascii") as output:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", output)
        display.show_products(ProductList(1, (Product("Vôlei", Amount("1.00"), 3),)))
        output.seek(0)
        assert "V?lei" in output.read()
