"""Data flows one way, and imports the other: a module knows only what stands before it here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sportshop"

# A module may import those before it, and those that share its line.
LAYERS = [
    ["sportshop"],
    ["sportshop.names"],
    ["sportshop.products"],
    ["sportshop.users"],
    ["sportshop.rows"],
    ["sportshop.orders", "sportshop.tokens", "sportshop.catalogue"],
    ["sportshop.storage.interface"],
    ["sportshop.storage.locks", "sportshop.storage.places"],
    ["sportshop.storage.memory"],
    ["sportshop.storage.sqlite_query"],
    ["sportshop.storage.sqlite_file", "sportshop.storage.sqlite_index"],
    ["sportshop.storage.sqlite_log", "sportshop.storage.sqlite_seal"],
    ["sportshop.storage.sqlite_read"],
    ["sportshop.storage.sqlite_schema"],
    ["sportshop.storage.csv_rows", "sportshop.storage.csv_keys"],
    ["sportshop.storage.csv_files"],
    ["sportshop.storage.csv_mark"],
    ["sportshop.storage.csv_scan"],
    ["sportshop.storage.csv_replay"],
    ["sportshop.storage.csv_ledger"],
    ["sportshop.storage.csv", "sportshop.storage.sqlite"],
    ["sportshop.storage"],
    ["sportshop.messages", "sportshop.settings"],
    ["sportshop.disk"],
    ["sportshop.login_queue"],
    ["sportshop.framing", "sportshop.session", "sportshop.inventory", "sportshop.logins"],
    ["sportshop.shop"],
    ["sportshop.sockets"],
    ["sportshop.outbox"],
    ["sportshop.connection"],
    ["sportshop.server"],
    ["sportshop.streams", "sportshop.log_writer", "sportshop.arguments"],
    ["sportshop.audit", "sportshop.client", "sportshop.logs"],
    ["sportshop.tables"],
    ["sportshop.display"],
    ["sportshop.terminal", "sportshop.commands"],
    ["sportshop.verify"],
    ["sportshop.cli"],
    ["sportshop.__main__"],
]
KNOW_GEVENT = {"disk", "inventory", "login_queue", "sockets", "outbox", "connection", "server"}
# Neither needs the server, and the server needs neither.
APART = {
    "sportshop.client": ["sportshop.messages", "sportshop.names", "sportshop.client"],
    "sportshop.audit": ["sportshop.audit", "sportshop.products", "sportshop.orders"],
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports(source: str) -> set[str]:
    """Return the modules that a source imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            submodules = {f"{module}.{alias.name}" for alias in node.names}
            known = {name for name, _ in modules()}
            found |= (submodules & known) | ({module} if submodules - known else set())
    return found


def layer(module: str) -> int:
    """Return where a module stands: by its own name, or by its package's."""
    name = module
    while True:
        for number, names in enumerate(LAYERS):
            if name in names and (name == module or name != "sportshop"):
                return number
        name, dot, _ = name.rpartition(".")
        assert dot, f"{module} stands in no layer"


def offences(module: str, source: str) -> list[str]:
    return [
        f"{module} imports {other}"
        for other in sorted(imports(source))
        if other.split(".")[0] == "sportshop" and layer(other) > layer(module)
    ]


@pytest.mark.parametrize(("module", "path"), modules())
def test_a_module_imports_only_what_stands_before_it(module: str, path: Path) -> None:
    assert offences(module, path.read_text(encoding="utf-8")) == []


def test_the_check_bites() -> None:
    assert offences("sportshop.orders", "from sportshop import session") == [
        "sportshop.orders imports sportshop.session"
    ]
    assert offences("sportshop.storage.csv", "def f():\n    import sportshop.inventory") != []
    assert offences("sportshop.session", "from sportshop.orders import Order") == []


@pytest.mark.parametrize("package", APART)
def test_what_stands_apart_needs_only_its_own(package: str) -> None:
    for module, path in modules():
        if module.startswith(package):
            for other in imports(path.read_text(encoding="utf-8")):
                if other.startswith("sportshop."):
                    assert any(other.startswith(name) for name in APART[package]), (module, other)


def test_only_these_modules_know_gevent_and_none_patches() -> None:
    knowing = set()
    for module, path in modules():
        found = imports(path.read_text(encoding="utf-8"))
        assert not any(name.startswith("gevent.monkey") for name in found), module
        if any(name.split(".")[0] == "gevent" for name in found):
            knowing.add(module.removeprefix("sportshop."))
    assert knowing == KNOW_GEVENT


def test_the_architecture_names_every_file_of_the_audit_and_of_the_load_test() -> None:
    document = (PACKAGE / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [*(PACKAGE / "audit").glob("*.py"), *(ROOT / "loadtest").glob("*.py")]
    names = {path.name for path in files if not path.name.startswith(("__", "_shape_", "_my_"))}
    assert [name for name in sorted(names) if f"`{name}`" not in document] == []
    assert len(names) > 30
