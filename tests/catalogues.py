"""Catalogues for tests: few products, cheap password hashes."""

from pathlib import Path

import argon2

from sportshop.catalogue import Catalogue
from sportshop.products import Product
from sportshop.users import NewUser

_CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
CHEAP_HASH = _CHEAP.hash("secret", salt=b"the same always!")
"""With a salt of its own, as it may be part of a test's name: those have to be the same again."""

BALL, BOOTS, PUCK = (
    Product("Ball", 14_990, 10),
    Product('Boots, "Pro"', 899_00, 3),
    Product("Bola de Vôlei", 7_50, 1_000_000),
)
SMALL = Catalogue([BALL, BOOTS, PUCK], [NewUser(f"user{i}", CHEAP_HASH) for i in range(1, 6)])


def write_catalogue(folder: Path, products: dict[str, int], users: int) -> Path:
    """Write a catalogue of products (name: stock) and users u0, u1 …, password `secret`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f'"{name}",149.90,{stock}\n' for name, stock in products.items())
    (folder / "products.csv").write_text("name,price,stockQuantity\n" + rows, encoding="utf-8")
    rows = "".join(f'u{i},"{CHEAP_HASH}"\n' for i in range(users))
    (folder / "users.csv").write_text("user,passwordHash\n" + rows, encoding="utf-8")
    return folder
