"""PROTOCOL.md and the code say the same: every code, reason and limit."""

import re
from pathlib import Path

import msgspec
import pytest

from sportshop import messages, orders, products, session
from sportshop.messages import SHOP_CODES, Code, Reason

DOCUMENT = (Path(messages.__file__).parent / "PROTOCOL.md").read_text(encoding="utf-8")

LIMITS = {
    "bytes of a frame, with its LF": messages.FRAME_BYTES_MAX,
    "items of an order": orders.ITEMS_MAX,
    "quantity of an item": orders.QUANTITY_MAX,
    "characters of an orderKey": orders.KEY_CHARACTERS_MAX,
    "characters of a product's name": products.NAME_CHARACTERS_MAX,
    "entries in a message of a list": messages.LIST_ENTRIES_MAX,
    "`limit` of GET_ORDERS": messages.ORDERS_LIMIT_MAX,
    "wrong logins on a connection": session.LOGINS_FAILED_MAX,
    "hours a token lives": messages.TOKEN_HOURS,
}


def table(document: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table under a heading: first cell to the others."""
    section = document.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith(("| ", "|`"))]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]
    return {first: rest for first, *rest in cells}


def differences(document: str) -> list[str]:
    """Return what the document and the code do not agree on."""
    found = []
    codes = {code: "shop" if code in SHOP_CODES else "client" for code in Code}
    if {code: rest[0] for code, rest in table(document, "Codes").items()} != codes:
        found.append("codes")
    told = {reason: rest[1] for reason, rest in table(document, "Errors").items()}
    if told != {r: "yes" if r in messages.RETRYABLE else "no" for r in Reason}:
        found.append("reasons")
    limits = {name: rest[0] for name, rest in table(document, "Limits").items()}
    if limits != {name: f"{value:,}" for name, value in LIMITS.items()}:
        found.append("limits")
    return found


def test_the_document_and_the_code_agree() -> None:
    assert differences(DOCUMENT) == []


@pytest.mark.parametrize(
    ("what", "becomes", "noticed"),
    [
        ("| GET_ORDERS | client |", "| GET_ORDER | client |", "codes"),
        ("| ERROR | shop |", "| ERROR | client |", "codes"),
        ("its store is full or locked just now. Nothing was done | yes |",
         "its store is full | no |", "reasons"),
        ("| items of an order | 100 |", "| items of an order | 99 |", "limits"),
    ],
)  # fmt: skip
def test_the_check_bites(what: str, becomes: str, noticed: str) -> None:
    assert what in DOCUMENT
    assert differences(DOCUMENT.replace(what, becomes)) == [noticed]


def test_every_field_of_a_request_is_in_the_document() -> None:
    fields = table(DOCUMENT, "Codes")
    for request in (
        messages.Authentication, messages.GetProducts, messages.GetOrders, messages.NewOrderItem
    ):  # fmt: skip
        code = request.__struct_config__.tag
        message = msgspec.inspect.type_info(request)
        assert isinstance(message, msgspec.inspect.StructType)
        data = message.fields[0].type
        assert isinstance(data, msgspec.inspect.StructType)
        named = re.findall(r"`(\w+)`", fields[str(code)][1])
        assert named == [field.encode_name for field in data.fields]


def test_every_request_of_the_documents_session_is_one() -> None:
    sent = re.findall(r"^> (\{.*\})$", DOCUMENT, re.MULTILINE)
    assert len(sent) == 4
    for line in sent:
        messages.decode_request(line.replace("…", "x").encode())
