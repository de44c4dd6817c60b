"""The customer's commands for scripts: what they print, where, and with which exit code."""

import json

import click
import pytest
from click.testing import CliRunner, Result

from sportshop import commands, display
from sportshop.client import Client, deadline
from tests.unit.fake_shop import FOOTBALL, RECEIPT, FakeShop, Peer, Script, error

BALL = {"name": "Ball", "price": "10.00", "stockQuantity": 3}
NET = {"name": "Net", "price": "0.50", "stockQuantity": 0}
ORDER = {
    "order": 7,
    "placedAt": "2026-03-01T12:00:00.250Z",
    "orderKey": "k-1",
    "items": [FOOTBALL],
    "total": "149.90",
}
HARMFUL = "a\x1b[31mb\x9bc\u202ed\x00e"
SEEN = "a�[31mb�c�d�e"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "USER", "PASSWORD", "TIMEOUT_SECONDS"):
        monkeypatch.delenv(f"SPORTSHOP_{name}", raising=False)
    monkeypatch.setattr(deadline, "PAUSE_S_FIRST", 0.001)


def run(
    shop: FakeShop, command: click.Command, *arguments: str, password: str | None = "senha"
) -> Result:
    environment = {"SPORTSHOP_PORT": str(shop.port), "SPORTSHOP_USER": "user1"}
    if password is not None:
        environment["SPORTSHOP_PASSWORD"] = password
    return CliRunner().invoke(command, arguments, env=environment)


def answers(code: str, data: dict[str, object]) -> Script:
    """Return a script: let the client log in, and answer its one request."""

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.hear({"PRODUCTS_LIST": "GET_PRODUCTS", "ORDERS_LIST": "GET_ORDERS"}[code])
        peer.answer(code, data)

    return script


def sells(peer: Peer) -> None:
    peer.welcome()
    peer.sell()


def refuses(reason: str, **facts: object) -> Script:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.hear("NEW_ORDER_ITEM")
        peer.say(error(reason, **facts))

    return script


# Lists.


def test_products_are_lines_of_tabs_where_nobody_looks() -> None:
    with FakeShop(answers("PRODUCTS_LIST", {"products": [BALL, NET], "asOf": 4})) as shop:
        result = run(shop, commands.products, "--sold-out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "#\tproduct\tprice\tin stock\n1\tBall\t10.00\t3\n2\tNet\t0.50\t0\n"
    assert shop.requests[1]["data"] == {"soldOut": True}


def test_products_as_json_are_what_the_shop_said() -> None:
    data: dict[str, object] = {"products": [BALL], "asOf": 4}
    with FakeShop(answers("PRODUCTS_LIST", data)) as shop:
        result = run(shop, commands.products, "--json")
    assert json.loads(result.stdout) == data
    assert shop.requests[1]["data"] == {}


def test_products_are_a_table_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "is_terminal", lambda: True)
    listed = {"products": [{**BALL, "name": "[red]Ball"}, NET], "asOf": 4}
    with FakeShop(answers("PRODUCTS_LIST", listed)) as shop:
        result = run(shop, commands.products)
    assert "[red]Ball" in result.stdout
    assert "sold out" in result.stdout
    assert "━" in result.stdout


def test_orders_have_a_line_for_each_item() -> None:
    with FakeShop(answers("ORDERS_LIST", {"orders": [ORDER], "asOf": 9})) as shop:
        result = run(shop, commands.orders, "--before", "8", "--limit", "2")
    assert result.stdout.splitlines() == [
        "order\tplaced at\tproduct\tquantity\tprice\ttotal",
        "7\t2026-03-01 12:00:00 UTC\tFootball\t1\t149.90\t149.90",
    ]
    assert shop.requests[1]["data"] == {"before": 8, "limit": 2}


def test_orders_as_json_are_what_the_shop_said() -> None:
    data: dict[str, object] = {"orders": [ORDER], "asOf": 9}
    with FakeShop(answers("ORDERS_LIST", data)) as shop:
        result = run(shop, commands.orders, "--json")
    assert json.loads(result.stdout) == data


# Buying.


def test_one_product_is_bought_by_name() -> None:
    with FakeShop(sells) as shop:
        result = run(shop, commands.buy, "Football", "--quantity", "2", "--key", "k-1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "product\tquantity\tprice\tleft",
        "Football\t2\t149.90\t4",
        "order 7: 299.80 in total",
    ]
    assert shop.orders() == [{"productName": "Football", "quantity": 2, "orderKey": "k-1"}]


def test_several_items_are_bought_in_one_order_and_their_names_may_have_equals_signs() -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.hear("NEW_ORDER_ITEM")
        peer.hear("NEW_ORDER_ITEM")
        peer.sell()

    with FakeShop(script) as shop:
        result = run(shop, commands.buy, "Football", "--item", "Net=3", "--item", "a=b=1")
    assert result.exit_code == 0
    assert [(o["productName"], o["quantity"]) for o in shop.orders()] == [
        ("Football", 1),
        ("Net", 3),
        ("a=b", 1),
    ]
    assert [request["endOfData"] for request in shop.requests[1:]] == [False, False, True]


def test_a_receipt_as_json_tells_the_key_that_was_made() -> None:
    with FakeShop(sells) as shop:
        result = run(shop, commands.buy, "Football", "--json")
    assert json.loads(result.stdout) == {**RECEIPT, "orderKey": shop.orders()[0]["orderKey"]}


def test_a_replayed_order_says_so() -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.sell(replayed=True, asOf=9)

    with FakeShop(script) as shop:
        result = run(shop, commands.buy, "Football")
    assert "order 7 had been placed before, and was not placed again" in result.stdout


SHORT: dict[str, object] = {"productName": "Ball", "requested": 5, "available": 2, "asOf": 3}


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (refuses("INSUFFICIENT_STOCK", **SHORT), "5 of 'Ball' requested, 2 available"),
        (refuses("INSUFFICIENT_STOCK", **{**SHORT, "available": 0}), "'Ball' is sold out"),
        (refuses("PRODUCT_NOT_FOUND", productName="X", asOf=1), "there is no product 'X'"),
        (
            refuses("ORDER_KEY_REUSED", orderKey="k"),
            "the shop refused: it is ORDER_KEY_REUSED (ORDER_KEY_REUSED)",
        ),
    ],
)
def test_a_refused_order_is_one_line_on_stderr_and_exit_code_1(script: Script, line: str) -> None:
    with FakeShop(script) as shop:
        result = run(shop, commands.buy, "Ball", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"sportshop: {line}\n"


def test_an_order_whose_outcome_is_unknown_tells_the_key_that_settles_it() -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.hear("NEW_ORDER_ITEM")

    with FakeShop(script) as shop:
        result = run(shop, commands.buy, "Football", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert "may have been placed, or not" in result.stderr
    assert f"ask again with --key {shop.orders()[0]['orderKey']}" in result.stderr


def test_ctrl_c_during_an_order_tells_the_key_that_settles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "order", interrupted)
    with FakeShop(Peer.welcome) as shop:
        result = run(shop, commands.buy, "Football", "--key", "k-1")
    assert result.exit_code == 1
    assert result.stderr == (
        "sportshop: interrupted, the order may have been placed, or not: ask again with --key k-1\n"
    )


# Usage.


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--quantity", "2"),
        ("Ball", "--quantity", "0"),
        ("Ball", "--quantity", "1000001"),
        ("--item", "Ball"),
        ("--item", "=1"),
        ("--item", "Ball=0"),
        ("--item", "Ball=1000001"),
        ("--item", "Ball=-1"),
        ("Ball", "--key", ""),
        ("Ball", "--key", "é"),
        ("Ball", "--key", "x" * 65),
        ("Ball", "--port", "0"),
        ("Ball", "--password", "senha"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nothing_is_asked(arguments: tuple[str, ...]) -> None:
    with FakeShop() as shop:
        result = run(shop, commands.buy, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_name_that_is_not_text_is_wrong_usage() -> None:
    with FakeShop(Peer.welcome) as shop:
        result = run(shop, commands.buy, "\udcff")
    assert result.exit_code == 2
    assert "not a product's name" in result.stderr


# Logging in.


def test_the_password_can_come_from_standard_input() -> None:
    with FakeShop(answers("PRODUCTS_LIST", {"products": [], "asOf": 0})) as shop:
        result = CliRunner().invoke(
            commands.products,
            ["--port", str(shop.port), "--user", "user2", "--password-stdin"],
            input="geheim \r\nmore\n",
        )
    assert result.exit_code == 0
    assert shop.requests[0]["data"] == {"user": "user2", "password": "geheim "}


@pytest.mark.parametrize("given", [b"", b"\n", b"\xff\n"])
def test_a_password_on_standard_input_must_be_text(given: bytes) -> None:
    result = CliRunner().invoke(
        commands.products, ["--user", "user1", "--password-stdin"], input=given
    )
    assert (result.exit_code, result.stdout) == (2, "")


def test_user_and_password_are_asked_for_and_the_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "_can_ask", lambda: True)
    with FakeShop(answers("PRODUCTS_LIST", {"products": [], "asOf": 0})) as shop:
        result = CliRunner().invoke(
            commands.products, ["--port", str(shop.port), "--json"], input="user3\ngeheim\n"
        )
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"products": [], "asOf": 0}
    assert shop.requests[0]["data"] == {"user": "user3", "password": "geheim"}
    assert "geheim" not in result.output


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((), "no user: give --user or set SPORTSHOP_USER"),
        (("--user", "u"), "no password: set SPORTSHOP_PASSWORD or give --password-stdin"),
    ],
)
def test_where_nobody_can_be_asked_what_is_missing_is_named(
    arguments: tuple[str, ...], missing: str
) -> None:
    result = CliRunner().invoke(commands.products, arguments)
    assert result.exit_code == 2
    assert missing in result.stderr


def test_a_wrong_password_is_one_line_and_exit_code_1() -> None:
    def script(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.say(error("INVALID_CREDENTIALS"))

    with FakeShop(script) as shop:
        result = run(shop, commands.orders)
    assert result.exit_code == 1
    assert result.stderr == "sportshop: the user or the password is wrong\n"


# Shops that are not there, or not shops.


@pytest.mark.parametrize("command", [commands.products, commands.orders, commands.shop])
def test_a_shop_that_is_not_there_is_one_line_and_exit_code_1(command: click.Command) -> None:
    with FakeShop() as shop:
        pass
    result = run(shop, command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"sportshop: cannot reach the shop at 127.0.0.1:{shop.port}: Connection refused\n"
    )


def test_a_server_that_is_not_a_shop_is_told_from_one() -> None:
    def web_server(peer: Peer) -> None:
        peer.hear("AUTHENTICATION")
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with FakeShop(web_server) as shop:
        result = run(shop, commands.products)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "does not keep to the protocol" in result.stderr


def test_no_control_character_of_a_name_reaches_the_terminal() -> None:
    listed = {"products": [{**BALL, "name": HARMFUL}], "asOf": 4}
    with FakeShop(answers("PRODUCTS_LIST", listed)) as shop:
        result = run(shop, commands.products)
    assert result.stdout.splitlines()[1] == f"1\t{SEEN}\t10.00\t3"


def test_no_control_character_reaches_the_terminal_in_json() -> None:
    listed = {"products": [{**BALL, "name": HARMFUL + "\x7f"}], "asOf": 4}
    with FakeShop(answers("PRODUCTS_LIST", listed)) as shop:
        result = run(shop, commands.products, "--json")
    assert result.stdout.replace("\n", "").isprintable()
    assert json.loads(result.stdout)["products"][0]["name"] == HARMFUL + "\x7f"


def test_no_control_character_of_an_error_reaches_the_terminal() -> None:
    with FakeShop(refuses("CLOSED", message=HARMFUL + "\n")) as shop:
        result = run(shop, commands.buy, "Ball")
    assert result.stderr == f"sportshop: the shop refused: {SEEN}� (CLOSED)\n"


def test_names_are_still_told_where_the_output_is_not_utf_8() -> None:
    listed = {"products": [{**BALL, "name": "Bola de Vôlei"}], "asOf": 4}
    with FakeShop(answers("PRODUCTS_LIST", listed)) as shop:
        result = CliRunner(charset="ascii").invoke(
            commands.products,
            ["--port", str(shop.port), "--user", "user1"],
            env={"SPORTSHOP_PASSWORD": "senha"},
        )
    assert result.stdout.splitlines()[1] == "1\tBola de V?lei\t10.00\t3"
