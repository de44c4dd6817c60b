"""What the load test's options mean, and how a wrong one is told."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
from _figures import REQUESTS
from _options import (
    DEMO_USERS,
    REQUEST_NAMES,
    WORKLOADS,
    Account,
    Address,
    WrongUsage,
    accounts,
    add_options,
    hot_product,
    objectives,
    parse_address,
    rate,
    workload,
)


class Parser(ArgumentParser):
    """Takes what Locust's parser takes, without Locust, which patches whoever imports it."""

    def __init__(self):
        self.shown: set[str] = set()
        super().__init__(add_help=False)

    def add_argument(self, *names, include_in_web_ui=True, **more):
        action = super().add_argument(*names, **more)
        if include_in_web_ui:
            self.shown.add(action.dest)
        return action


def parse(*arguments: str) -> Namespace:
    parser = Parser()
    add_options(parser)
    return parser.parse_args(arguments)


def test_a_workload_is_a_set_of_weights() -> None:
    assert workload(parse("--workload", "baskets")) == WORKLOADS["baskets"]
    assert workload(parse("--workload", "baskets")).basket == 66


def test_a_weight_changes_the_workload() -> None:
    changed = workload(parse("--workload", "flash-sale", "--weight-browse", "7"))
    assert changed == WORKLOADS["flash-sale"]._replace(browse=7)


def test_every_workload_has_something_to_do() -> None:
    assert all(sum(weights) > 0 for weights in WORKLOADS.values())


@pytest.mark.parametrize("text", ["-1", "2.5", "many", "1001"])
def test_a_weight_that_is_none_is_told_by_its_flag(text: str) -> None:
    with pytest.raises(ValueError, match=r"--weight-hang-up: expected .* got '"):
        workload(Namespace(workload="mixed", weight_hang_up=text))


def test_weights_that_are_all_nothing_are_refused() -> None:
    none = [f"--weight-{name.replace('_', '-')}=0" for name in WORKLOADS["mixed"]._fields]
    with pytest.raises(ValueError, match="nothing to do"):
        workload(parse(*none))


def test_without_a_rate_the_workload_is_closed() -> None:
    assert rate(parse()) == 0
    assert rate(parse("--rate", " 2000 ")) == 2000
    assert rate(parse("--rate", "0.5")) == 0.5


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", "1e9"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--rate: expected arrivals per second"):
        rate(parse(f"--rate={text}"))


def test_objectives_are_read_in_order() -> None:
    wanted = objectives(parse("--slo", "errors<0.1%", "--slo", "accepted>10000/s"))
    assert [slo.text for slo in wanted] == ["errors<0.1%", "accepted>10000/s"]
    with pytest.raises(ValueError, match="--slo: cannot read 'fast'"):
        objectives(parse("--slo", "fast"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("NEW_ORDER p99<50ms", "there are no requests 'NEW_ORDER', only NEW_ORDER_ITEM, "),
        ("intended p99<50ms", "needs --rate"),
        ("missed<1%", "needs --rate"),
    ],
)
def test_an_objective_of_what_is_not_measured_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        objectives(parse("--slo", text))


def test_an_open_workload_can_have_objectives_of_arrivals() -> None:
    texts = ["intended NEW_ORDER_ITEM p99<50ms", "intended p99<1s", "missed<1%"]
    wanted = objectives(parse("--rate", "10", *(f"--slo={text}" for text in texts)))
    assert [slo.measure for slo in wanted] == ["p99", "p99", "missed"]


def test_every_row_of_the_figures_can_have_an_objective() -> None:
    assert set(REQUESTS) <= set(REQUEST_NAMES)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, ("127.0.0.1", 3333)),
        ("tcp://shop.example:4000", ("shop.example", 4000)),
        ("shop.example:4000", ("shop.example", 4000)),
        ("shop.example", ("shop.example", 3333)),
        ("tcp://[::1]:4000/", ("::1", 4000)),
        ("tcp://caf\u00e9.example:4000", ("caf\u00e9.example", 4000)),
    ],
)
def test_a_host_is_an_address(text: str | None, address: tuple[str, int]) -> None:
    assert parse_address(text) == Address(*address)


@pytest.mark.parametrize(
    "text",
    [
        *("http://shop", "shop:port", "shop:0", "shop:70000", "tcp://", ":"),
        *("tcp://\udcff:3333", "shop..local:3333", f"{'x' * 64}:3333"),
    ],
)
def test_a_host_that_is_none_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="--host: expected tcp://HOST:PORT"):
        parse_address(text)


def test_accounts_come_from_the_flag_or_from_a_file(tmp_path: Path) -> None:
    assert [account.user for account in accounts(parse())] == [f"user{n}" for n in range(1, 6)]
    assert accounts(parse("--shop-users", "ann:a:b,bob:c")) == [
        Account("ann", "a:b"),
        Account("bob", "c"),
    ]
    file = tmp_path / "accounts.csv"
    file.write_text('user,password\nann,"a,b"\n', encoding="utf-8")
    assert accounts(parse("--shop-users-file", str(file))) == [Account("ann", "a,b")]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfuser,password\r\nann,secret\r\n",
        b"\xef\xbb\xbfuser,password\nann,secret",
        b'user,password\n"ann","secret"\n\n',
    ],
    ids=["spreadsheet", "mark of UTF-8", "quotes and a blank line"],
)
def test_a_file_of_accounts_is_read_as_the_shop_reads_its_own(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "accounts.csv"
    file.write_bytes(content)
    assert accounts(parse("--shop-users-file", str(file))) == [Account("ann", "secret")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"", "line 1: expected the columns user,password"),
        (b"user\nann\n", "line 1: expected the columns user,password"),
        (b"ann,hunter2\n", "line 1: "),
        (b"user,password\nann\n", "line 2: expected 2 columns"),
        (b"user,password\nann,hunter2,x\n", "line 2: expected 2 columns"),
        (b"user,password\nann,hunter2\n,hunter2\n", "line 3: no user"),
        (b"user,password\nann,\n", "line 2: no password"),
        (b"user,password\n", "no account"),
        (b"user,password\n\xff\xfe,hunter2\n", "line 2: expected UTF-8"),
        (b'user,password\nann,"hunter2\n', "line 2: not correct CSV"),
        (b'user,password\nann,"hunter2' + b"x" * 200_000 + b"\n", "line 2: "),
        (b"user,password\nann,hunter2" + b"x" * 200_000 + b"\n", "line 2: "),
    ],
)
def test_a_bad_file_of_accounts_is_told_in_one_line_without_a_password(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "accounts.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongUsage) as caught:
        accounts(parse("--shop-users-file", str(file)))
    text = str(caught.value)
    assert text.startswith(f"--shop-users-file: {file}")
    assert told in text
    assert "hunter2" not in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize("text", ["", "ann", "ann:hunter2,bob", ":hunter2"])
def test_an_account_without_user_or_password_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--shop-users: expected user:password") as caught:
        accounts(parse("--shop-users", text))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ann:secret,jos\u00e9:secret,jose\u0301:other",
        "ann:secret,jos\u00e9:secret,jos\u00e9:secret,ann:other",
    ],
    ids=["two forms of a name", "twice"],
)
def test_a_user_is_one_customer_however_the_name_is_written(text: str) -> None:
    assert accounts(parse("--shop-users", text)) == [
        Account("ann", "secret"),
        Account("jos\u00e9", "secret"),
    ]


def test_a_user_is_one_customer_in_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text("user,password\nA\u030angel,x\n\u00c5ngel,x\n\u212bngel,x\n", "utf-8")
    assert [one.user for one in accounts(parse("--shop-users-file", str(file)))] == ["A\u030angel"]


@pytest.mark.parametrize(
    "text",
    ["ann:hunter2,b\udcff:x", "ann:hunter2\udce3", f"ann:hunter2,bob:{'x' * 70_000}"],
    ids=["user", "password", "too long"],
)
def test_an_account_that_no_message_can_have_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="--shop-users: expected text in UTF-8 that") as caught:
        accounts(parse("--shop-users", text))
    assert "hunter2" not in str(caught.value)
    file = tmp_path / "accounts.csv"
    file.write_text("user,password\nann,x\nbob," + "\u26bd" * 22_000 + "\n", encoding="utf-8")
    with pytest.raises(WrongUsage, match=r"accounts\.csv, line 3: expected text in UTF-8 that"):
        accounts(parse("--shop-users-file", str(file)))


@pytest.mark.parametrize(
    ("own", "wanted"),
    [("Caf\u00e9", "Cafe\u0301"), ("Cafe\u0301", "Caf\u00e9"), ("\u00c5ngel", "\u212bngel")],
)
def test_the_hot_product_can_be_named_in_another_form(own: str, wanted: str) -> None:
    assert hot_product({"Ball": 1, own: 5}, wanted) == own


def test_the_hot_product_is_the_wanted_one_or_the_scarcest_that_lasts() -> None:
    stock = {"Ball": 5_000, "Bat": 2_000, "Cup": 3}
    assert hot_product(stock, "Cup") == "Cup"
    assert hot_product(stock, "") == "Bat"
    assert hot_product({"Football": 1, **stock}, "") == "Football"
    assert hot_product({"Football": 0, "Cup": 3, "Net": 4}, "") == "Net"
    with pytest.raises(ValueError, match="--hot-product: the shop has no 'Hat'"):
        hot_product(stock, "Hat")
    with pytest.raises(ValueError, match="no products"):
        hot_product({}, "")


def test_passwords_do_not_show_in_the_web_ui_and_weights_do() -> None:
    parser = Parser()
    add_options(parser)
    assert {"workload", "rate", "hot_product", "alone"} <= parser.shown
    assert {f"weight_{name}" for name in WORKLOADS["mixed"]._fields} <= parser.shown
    assert not any(name.startswith("shop_users") for name in parser.shown)


def test_the_demo_s_accounts_are_the_catalogue_s() -> None:
    users = (Path(__file__).parents[2] / "data" / "users.csv").read_text(encoding="utf-8")
    names = [line.split(",")[0] for line in users.splitlines()[1:]]
    assert ",".join(f"{name}:senha" for name in names) == DEMO_USERS
