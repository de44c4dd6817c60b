"""A customer's visit to a scripted shop, typed line by line."""

import builtins
from collections.abc import Callable
from decimal import Decimal

import pytest
from click.testing import CliRunner, Result

from sportshop import commands
from sportshop.client import Amount, Product, deadline
from sportshop.display import clean
from sportshop.terminal import completer, find_product
from tests.unit.fake_shop import FOOTBALL, FakeShop, Peer, Script, error

PRODUCTS = {
    "products": [
        {"name": "Football", "price": "149.90", "stockQuantity": 5},
        {"name": "Net", "price": "0.50", "stockQuantity": 30},
        {"name": "Oar", "price": "80.00", "stockQuantity": 0},
    ],
    "asOf": 4,
}
MENU = "1 orders   2 products   3 buy   4 quit\n> "


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "USER", "PASSWORD", "TIMEOUT_SECONDS"):
        monkeypatch.delenv(f"SPORTSHOP_{name}", raising=False)
    monkeypatch.setattr(deadline, "PAUSE_S_FIRST", 0.001)


def visit(shop: FakeShop, *lines: str) -> Result:
    return CliRunner().invoke(
        commands.shop,
        ["--port", str(shop.port), "--user", "user1", "--password-stdin"],
        input="".join(line + "\n" for line in ("senha", *lines)),
    )


def dialogue(*steps: Callable[[Peer], object]) -> Script:
    """Return a script: let the customer in, then go through the steps."""

    def script(peer: Peer) -> None:
        peer.welcome()
        for step in steps:
            step(peer)

    return script


def list_products(peer: Peer) -> None:
    assert peer.hear("GET_PRODUCTS") == {"soldOut": True}
    peer.answer("PRODUCTS_LIST", PRODUCTS)


def list_orders(*numbers: int, before: int | None = None) -> Callable[[Peer], None]:
    def step(peer: Peer) -> None:
        assert peer.hear("GET_ORDERS").get("before") == before
        orders = [
            {
                "order": number,
                "placedAt": "2026-03-01T12:00:00.250Z",
                "items": [FOOTBALL],
                "total": "149.90",
            }
            for number in numbers
        ]
        peer.answer("ORDERS_LIST", {"orders": orders, "asOf": 99})

    return step


def refuse(reason: str, **facts: object) -> Callable[[Peer], None]:
    def step(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error(reason, **facts))

    return step


def hear_item(peer: Peer) -> None:
    peer.hear("NEW_ORDER_ITEM")


def test_a_visit_from_the_welcome_to_the_goodbye() -> None:
    with FakeShop(dialogue(list_products, list_orders(7))) as shop:
        result = visit(shop, "2", "orders", "4")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "Welcome to sportshop 0.0.0, user1.\n"
        f"\n{MENU}"
        "#\tproduct\tprice\tin stock\n"
        "1\tFootball\t149.90\t5\n"
        "2\tNet\t0.50\t30\n"
        "3\tOar\t80.00\t0\n"
        f"\n{MENU}"
        "order\tplaced at\tproduct\tquantity\tprice\ttotal\n"
        "7\t2026-03-01 12:00:00 UTC\tFootball\t1\t149.90\t149.90\n"
        f"\n{MENU}"
        "Goodbye.\n"
    )


def test_a_basket_is_bought_by_name_and_number_as_one_order() -> None:
    with FakeShop(dialogue(list_products, hear_item, Peer.sell)) as shop:
        result = visit(shop, "buy", "football", "2", "2", "", "Football", "1", "", "y", "quit")
    assert result.exit_code == 0
    assert [(o["productName"], o["quantity"]) for o in shop.orders()] == [
        ("Football", 3),
        ("Net", 1),
    ]
    assert "Basket: 3 Football, 1 Net\nTotal: 450.20\n" in result.stdout
    assert "order 7: 599.60 in total" in result.stdout


@pytest.mark.parametrize("lines", [("",), ("Net", "1", "", "n")])
def test_nothing_is_bought_from_an_empty_basket_or_against_ones_will(lines: tuple[str]) -> None:
    with FakeShop(dialogue(list_products)) as shop:
        result = visit(shop, "3", *lines, "4")
    assert result.stdout.endswith(f"{MENU}Goodbye.\n")


def test_what_cannot_be_bought_is_asked_for_again() -> None:
    with FakeShop(dialogue(list_products, Peer.sell)) as shop:
        result = visit(
            shop, "3", "Bicycle", "9", "Oar", "Net", "0", "x", "1000001", "2", "", "", "4"
        )
    assert "Bicycle is not a product." in result.stdout
    assert "9 is not a product." in result.stdout
    assert "Oar is sold out." in result.stdout
    assert result.stdout.count("Give a number from 1 to 1000000.") == 3
    assert [(o["productName"], o["quantity"]) for o in shop.orders()] == [("Net", 2)]


def test_a_refused_order_is_told_and_the_visit_goes_on() -> None:
    short = refuse("INSUFFICIENT_STOCK", productName="Net", requested=2, available=0, asOf=5)
    with FakeShop(dialogue(list_products, short, list_products)) as shop:
        result = visit(shop, "3", "Net", "2", "", "y", "2", "4")
    assert "Sorry: 'Net' is sold out.\n" in result.stdout
    assert result.stdout.endswith("Goodbye.\n")


def test_a_connection_that_is_lost_is_told_and_the_visit_goes_on() -> None:
    with FakeShop(dialogue()) as shop:
        result = visit(shop, "2", "1", "4")
    assert result.exit_code == 0
    sorry = f"Sorry: cannot reach the shop at 127.0.0.1:{shop.port}: Connection refused.\n"
    assert result.stdout.count(sorry) == 2


def test_a_connection_that_can_be_mended_is_not_worth_a_word() -> None:
    with FakeShop(dialogue(), dialogue(list_products)) as shop:
        result = visit(shop, "2", "4")
    assert "Sorry" not in result.stdout
    assert "Football" in result.stdout
    assert shop.requests[1]["data"] == {"token": "token-1"}


def test_an_order_in_doubt_is_asked_again_under_the_same_key() -> None:
    def broken(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(b"{\n")

    with FakeShop(dialogue(list_products, broken), dialogue(Peer.sell)) as shop:
        result = visit(shop, "3", "Net", "", "", "y", "y", "4")
    assert "the order may have been placed, or not" in result.stdout
    assert "order 7: 149.90 in total" in result.stdout
    first, second = shop.orders()
    assert first["orderKey"] == second["orderKey"]


def test_an_order_in_doubt_can_be_left() -> None:
    def broken(peer: Peer) -> None:
        peer.hear("NEW_ORDER_ITEM")
        peer.say(b"{\n")

    with FakeShop(dialogue(list_products, broken)) as shop:
        result = visit(shop, "3", "Net", "", "", "y", "n", "4")
    assert "Your orders will show whether it was placed." in result.stdout
    assert len(shop.orders()) == 1


def test_older_orders_are_shown_if_asked_for() -> None:
    page = list_orders(*range(40, 20, -1))
    older = list_orders(20, 3, before=21)
    with FakeShop(dialogue(page, older)) as shop:
        result = visit(shop, "1", "maybe", "y", "4")
    assert "\n40\t" in result.stdout
    assert "\n3\t" in result.stdout
    assert result.stdout.count("Older ones?") == 2


@pytest.mark.parametrize(
    ("script", "lines", "said"),
    [
        (list_orders(), (), "There are no orders yet."),
        (lambda peer: (list_orders(*range(40, 20, -1))(peer), list_orders(before=21)(peer)),
         ("",), "These were all."),
    ],
)  # fmt: skip
def test_the_end_of_the_orders_is_told(script: Script, lines: tuple[str], said: str) -> None:
    with FakeShop(dialogue(script)) as shop:
        assert said in visit(shop, "1", *lines, "4").stdout


@pytest.mark.parametrize("choice", ["", "0", "5", "sell", "99999999999", "²", "\x00"])
def test_a_choice_that_is_not_on_the_menu_is_asked_for_again(choice: str) -> None:
    with FakeShop(Peer.welcome) as shop:
        result = visit(shop, choice, "4")
    assert "Give a number from 1 to 4, or a name.\n" in result.stdout


@pytest.mark.parametrize("lines", [(), ("3",), ("3", "Net"), ("3", "Net", "1", "")])
def test_the_end_of_the_input_is_a_goodbye(lines: tuple[str, ...]) -> None:
    steps = [list_products] if lines else []
    with FakeShop(dialogue(*steps)) as shop:
        result = visit(shop, *lines)
    assert result.exit_code == 0
    assert result.stdout.endswith("\nGoodbye.\n")


def test_ctrl_c_is_a_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(question: str) -> str:
        raise KeyboardInterrupt

    with FakeShop(Peer.welcome) as shop, monkeypatch.context() as patched:
        runner, arguments = CliRunner(), ["--port", str(shop.port), "--user", "user1"]
        patched.setattr(builtins, "input", interrupted)
        result = runner.invoke(commands.shop, arguments, env={"SPORTSHOP_PASSWORD": "senha"})
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("\nGoodbye.\n")


def test_a_person_may_mistype_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.say(error("INVALID_CREDENTIALS"))
        peer.welcome()

    monkeypatch.setattr(commands, "_can_ask", lambda: True)
    with FakeShop(script) as shop:
        result = CliRunner().invoke(
            commands.shop, ["--port", str(shop.port)], input="user1\nsehna\nsenha\n4\n"
        )
    assert result.exit_code == 0
    assert "Sorry: the user or the password is wrong.\n" in result.stdout
    assert "Welcome" in result.stdout
    assert "senha" not in result.output


def test_three_wrong_passwords_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.hear("AUTHENTICATION")
            peer.say(error("INVALID_CREDENTIALS"))

    monkeypatch.setattr(commands, "_can_ask", lambda: True)
    with FakeShop(script) as shop:
        result = CliRunner().invoke(
            commands.shop, ["--port", str(shop.port), "--user", "u"], input="a\nb\nc\nd\n"
        )
    assert result.exit_code == 1
    assert "sportshop: the user or the password is wrong\n" in result.stderr


def test_nothing_the_shop_says_of_itself_can_steer_the_terminal() -> None:
    with FakeShop(lambda peer: peer.welcome(server="\x1b]0;owned\x07\u202e")) as shop:
        result = visit(shop, "4")
    assert "Welcome to �]0;owned��, user1.\n" in result.stdout


def test_a_shop_that_greets_somebody_else_is_not_visited() -> None:
    with FakeShop(lambda peer: peer.welcome(user="\u202eme")) as shop:
        result = visit(shop, "4")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not keep to the protocol" in result.stderr
    assert "\u202e" not in result.stderr


# Without a shop.


def products_named(*names: str) -> list[Product]:
    return [Product(name, Amount("1.00"), 1) for name in names]


def test_a_name_goes_before_a_number_and_the_same_case_before_another() -> None:
    products = products_named("2", "BALL", "Ball", "Net")
    found = [find_product(answer, products) for answer in ("2", "4", "Ball", "net", "ball", "5")]
    assert [product and product.name for product in found] == [
        "2",
        "Net",
        "Ball",
        "Net",
        None,
        None,
    ]


def test_a_name_is_found_in_any_form_and_the_exact_one_first() -> None:
    composed, decomposed = "Vôlei", "Vo\u0302lei"
    for own, answer in ((composed, decomposed), (decomposed, composed), (composed, "VO\u0302LEI")):
        (product,) = products_named(own)
        assert find_product(answer, [product]) == product
    both = products_named(composed, decomposed)
    assert [find_product(name, both) for name in (composed, decomposed)] == list(both)
    complete = completer([composed])
    assert complete("vo\u0302", 0) == composed


def test_tab_completes_names_with_spaces_in_them_whatever_the_case() -> None:
    complete = completer(["Golf Ball", "Golf Club Set", "Net", "Golf\x1b"])
    assert [complete("golf ", state) for state in range(3)] == ["Golf Ball", "Golf Club Set", None]


def test_text_that_can_only_be_seen_is_left_as_it_is() -> None:
    text = "Óculos, 足球, \N{MAN}\N{ZERO WIDTH JOINER}\N{ROCKET}\N{NO-BREAK SPACE}[b]"
    assert clean(text) == text


def test_an_amount_is_a_decimal() -> None:
    assert sum([Amount("0.10")] * 3, Decimal()) == Decimal("0.30")
