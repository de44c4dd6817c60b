"""The README tells the truth: its settings are the program's, its example is a program."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import click
from _options import WORKLOADS, add_options

from sportshop import cli, client
from sportshop.settings import Limits
from tests.unit.test_loadtest_options import Parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_in(document: str) -> dict[str, tuple[str, str]]:
    """Return flag: (variable, default) of the settings table."""
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(\w+)` \| ([^|]+) \|", document, re.MULTILINE)
    return {flag: (variable, default.replace(",", "")) for flag, variable, default in rows}


def settings_of_the_program() -> dict[str, tuple[str, str]]:
    options = [o for o in cli.serve.params if isinstance(o, click.Option)]
    return {option.opts[0]: (str(option.envvar), str(option.default)) for option in options}


def test_every_flag_is_in_the_readme_with_its_variable_and_default() -> None:
    assert settings_in(README) == settings_of_the_program()
    assert len(settings_in(README)) == 6 + len(fields(Limits))


def test_a_default_that_differs_would_be_noticed() -> None:
    wrong = README.replace("| 3333 |", "| 3334 |")
    assert settings_in(wrong) != settings_of_the_program()


def test_the_example_uses_what_there_is() -> None:
    example, _workload = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    tree = ast.parse(example)
    (imported,) = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert all(hasattr(client, alias.name) for alias in imported.names)


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|\$ )(?:\w+=\w+ )?make ([a-z]+)", README))
    assert {"serve", "test", "shop", "loadtest", "install"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_option_of_the_load_test_in_the_readme_exists_and_the_other_way_round() -> None:
    parser = Parser()
    add_options(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    section = README[README.index("## Load-test it") : README.index("### The proof")]
    ours = {o for o in options if not o.startswith("--weight-")}
    assert [option for option in sorted(ours) if option not in section] == []
    tabled = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
    assert tabled <= options
    assert all(f"`{name}`" in section for name in WORKLOADS)
