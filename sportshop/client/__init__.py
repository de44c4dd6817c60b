"""A client of the shop: blocking, typed, on plain sockets, cooperative wherever those are.

    with connect("127.0.0.1", 3333) as shop:
        shop.authenticate("user1", password)
        for product in shop.products():
            print(product.name, product.price, product.stock)
        receipt = shop.order("Football", 2)

Amounts are decimals, times are aware datetimes, durations are seconds. All errors derive from
ShopError. For the wire itself see PROTOCOL.md.
"""

from sportshop.client.answers import (
    Amount,
    Limits,
    OrderList,
    PastOrder,
    Product,
    ProductList,
    Receipt,
    Session,
    SoldItem,
    read_receipt,
    read_session,
)
from sportshop.client.client import NEW_KEY, Client, OrderKey, connect, encode_order
from sportshop.client.errors import (
    AlreadyAuthenticated,
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    FrameTooLong,
    InsufficientStock,
    InvalidCredentials,
    MalformedMessage,
    NotAuthenticated,
    OrderKeyReused,
    OrderTooLarge,
    OutcomeUnknown,
    ProductNotFound,
    ProtocolViolation,
    Refused,
    ShopError,
    ShuttingDown,
    SoldOut,
    StorageFailed,
    TimedOut,
    UnexpectedMessage,
    refusal,
)
from sportshop.client.keys import new_order_key
from sportshop.client.lists import read_orders, read_products

__all__ = [
    "NEW_KEY",
    "AlreadyAuthenticated",
    "Amount",
    "Busy",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "FrameTooLong",
    "InsufficientStock",
    "InvalidCredentials",
    "Limits",
    "MalformedMessage",
    "NotAuthenticated",
    "OrderKey",
    "OrderKeyReused",
    "OrderList",
    "OrderTooLarge",
    "OutcomeUnknown",
    "PastOrder",
    "Product",
    "ProductList",
    "ProductNotFound",
    "ProtocolViolation",
    "Receipt",
    "Refused",
    "Session",
    "ShopError",
    "ShuttingDown",
    "SoldItem",
    "SoldOut",
    "StorageFailed",
    "TimedOut",
    "UnexpectedMessage",
    "connect",
    "encode_order",
    "new_order_key",
    "read_orders",
    "read_products",
    "read_receipt",
    "read_session",
    "refusal",
]
