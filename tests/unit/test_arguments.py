"""Hosts, ports and passwords as people, Kubernetes and secret files write them."""

import logging
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from sportshop import catalogue, cli, commands, logs, streams
from sportshop.arguments import Host, Seconds, without_line_end
from sportshop.settings import Settings
from tests.unit.fake_shop import FakeShop, Peer
from tests.unit.test_commands import no_settings  # noqa: F401 - used by every test here


def products(peer: Peer) -> None:
    peer.welcome()
    peer.hear("GET_PRODUCTS")
    peer.answer("PRODUCTS_LIST", {"products": [], "asOf": 0})


def run(*arguments: str, **env: str) -> Result:
    settings = {"USER": "user1", "PASSWORD": "senha", **env}
    return CliRunner().invoke(
        commands.products, arguments, env={f"SPORTSHOP_{n}": v for n, v in settings.items()}
    )


def refused(result: Result) -> str:
    """Return what is said of a wrong argument."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert not isinstance(result.exception, UnicodeError)
    return result.stderr.splitlines()[-1]


# Hosts.


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (" 127.0.0.1 ", "127.0.0.1"),
        ("localhost\n", "localhost"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - it is the operator's choice
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("shop.example", "shop.example"),
        ("lojá.example", "lojá.example"),
    ],
)
def test_a_host_is_meant_whatever_stands_around_it(given: str, meant: str) -> None:
    for host in (Host(listens=True), Host(listens=False)):
        assert host.convert(given, None, None) == meant


WRONG_HOSTS = {
    "": "0.0.0.0 (or ::) to listen on every address",
    "  ": "0.0.0.0 (or ::)",
    "*": "0.0.0.0 (or ::)",
    "127.0.0.1:3333": "write --host 127.0.0.1 --port 3333",
    "localhost:": "write --host localhost --port 3333",
    "[::1]:4000": "write --host [::1] --port 4000",
    "tcp://10.0.0.1": "write the host alone, '10.0.0.1'",
    "http://shop.example:80/": "write the host alone",
    "1::2::3": "neither a name nor an address",
    "a b": "neither a name nor an address",
    "a\x1bb": "neither a name nor an address",
    "lojá..example": "neither a name nor an address",
    "é" * 64: "neither a name nor an address",
    "\udcff": "'\\udcff' is not text in UTF-8",
}


@pytest.mark.parametrize("given", WRONG_HOSTS)
def test_what_is_no_host_is_refused_and_says_what_to_write(given: str) -> None:
    with pytest.raises(click.BadParameter) as wrong:
        Host(listens=True).convert(given, None, None)
    assert WRONG_HOSTS[given] in str(wrong.value)


@pytest.mark.parametrize("given", ["", "x:1", "\udcff"])
def test_a_wrong_host_is_named_with_flag_and_variable(given: str) -> None:
    said = refused(run("--host", given))
    assert "'--host' (env var: 'SPORTSHOP_HOST')" in said
    if given:
        assert "SPORTSHOP_HOST" in refused(run(HOST=given))


# Ports.

KUBERNETES = ["tcp://10.0.0.1:3333", "udp://10.0.0.1:53", "tcp://[fd00::1]:3333"]


@pytest.mark.parametrize("value", KUBERNETES)
def test_the_variable_that_kubernetes_sets_is_passed_over_and_named(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeShop(products) as shop:
        (port,) = [option for option in commands.products.params if option.name == "port"]
        monkeypatch.setattr(port, "default", shop.port)
        result = run(PORT=value)
    assert result.exit_code == 0
    assert result.stderr == (
        f"sportshop: passed over SPORTSHOP_PORT={value}, which Kubernetes sets for a service of"
        f" that name: the port is {shop.port} unless --port says otherwise\n"
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Settings]]:
    """Return a list of the settings with which a shop would have started."""
    asked: list[Settings] = []

    def serve(settings: Settings) -> int:
        asked.append(settings)
        return 0

    monkeypatch.setattr(cli, "run_server", serve)
    logger = logging.getLogger("sportshop")
    before = logger.handlers[:], logger.level, logger.propagate
    yield asked
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.parametrize("value", KUBERNETES)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_shop_passes_over_what_kubernetes_sets_with_a_line_in_its_log(
    value: str, log_format: str, seen: list[Settings]
) -> None:
    env = {"SPORTSHOP_PORT": value, "SPORTSHOP_LOG_FORMAT": log_format, "SPORTSHOP_HOST": ""}
    result = CliRunner().invoke(cli.serve, [], env=env)
    assert result.exit_code == 0, result.output
    assert [(settings.host, settings.port) for settings in seen] == [("127.0.0.1", 3333)]
    assert f"passed over SPORTSHOP_PORT={value}" in result.stderr
    assert "WARNING" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_flag_outdoes_the_variable_that_kubernetes_sets() -> None:
    with FakeShop(products) as shop:
        result = run("--port", str(shop.port), PORT=KUBERNETES[0])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "value", ["abc", "3333x", "tcp://10.0.0.1", "tcp:3333", "10.0.0.1:3333", "3.5", "\udcff", "٣x"]
)
def test_any_other_nonsense_is_refused_with_the_name_of_the_variable(value: str) -> None:
    said = refused(run(PORT=value))
    assert "'--port' (env var: 'SPORTSHOP_PORT')" in said
    assert "is not a valid integer: write 3333, say" in said


def test_on_the_command_line_even_kubernetes_form_is_nonsense() -> None:
    assert "is not a valid integer" in refused(run("--port", KUBERNETES[0]))


@pytest.mark.parametrize("value", ["0", "65536", "-1", "9" * 5_000])
def test_a_port_out_of_range_is_refused(value: str) -> None:
    said = refused(run("--port", value))
    assert "not in the range 1<=x<=65535" in said or "not a valid integer" in said


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    with FakeShop(products) as shop:
        result = run("--port", str(shop.port), HOST="", TIMEOUT_SECONDS="", PORT="")
    assert (result.exit_code, result.stderr) == (0, "")


# Times.


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-1", "3601", "1e400", "ten", ""])
def test_a_time_that_no_call_can_have_is_refused(value: str) -> None:
    assert "--timeout-seconds" in refused(run("--timeout-seconds", value))


def test_not_a_number_is_refused_where_there_is_no_range_either() -> None:
    with pytest.raises(click.BadParameter, match="nan is not a number of seconds"):
        Seconds().convert("nan", None, None)


# Passwords.


@pytest.mark.parametrize("given", ["senha\n", "senha\r\n", "\ufeffsenha", "senha\n\n"])
def test_a_password_in_a_variable_may_end_as_its_file_did(given: str) -> None:
    with FakeShop(products) as shop:
        assert run("--port", str(shop.port), PASSWORD=given).exit_code == 0
    assert shop.requests[0]["data"]["password"] == "senha"


def test_blanks_of_a_password_are_its_own() -> None:
    assert without_line_end(" a\tb \u2028") == " a\tb \u2028"


@pytest.mark.parametrize("variable", ["USER", "PASSWORD"])
def test_a_variable_that_is_not_text_is_wrong_usage(variable: str) -> None:
    with FakeShop() as shop:
        said = refused(run("--port", str(shop.port), **{variable: "ana\udcff"}))
    assert "not text in UTF-8" in said


@pytest.mark.parametrize("given", [b"senh\xe3\n", b"\xff\xfes\x00\n", b"\xed\xa0\x80\n"])
@pytest.mark.parametrize("command", [commands.products, cli.add_user])
def test_bytes_on_standard_input_that_are_not_text_are_wrong_usage(
    given: bytes, command: click.Command
) -> None:
    arguments = ["--user", "u"] if command is commands.products else ["ana", "--store", "memory:"]
    result = CliRunner().invoke(command, [*arguments, "--password-stdin"], input=given)
    assert "not text in UTF-8" in refused(result)


@pytest.mark.parametrize("given", [bytes(20_000), b"x" * 10_001, b"x" * 10**6 + b"\n"])
@pytest.mark.parametrize("command", [commands.products, cli.add_user])
def test_what_is_too_long_for_a_password_is_not_read_to_its_end(
    given: bytes, command: click.Command
) -> None:
    arguments = ["--user", "u"] if command is commands.products else ["ana", "--store", "memory:"]
    result = CliRunner().invoke(command, [*arguments, "--password-stdin"], input=given)
    assert "has over 10,000 characters: that is no password" in refused(result)


@pytest.mark.parametrize("typed", [b"an\xe1\nx\n", b"ana\nsenh\xe3\n"])
def test_bytes_typed_at_a_prompt_that_are_not_text_are_wrong_usage(
    typed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_can_ask", lambda: True)
    result = CliRunner().invoke(commands.products, [], input=typed)
    assert "not text in UTF-8" in refused(result)


@pytest.mark.parametrize("typed", ["an\udce1", "\ud800"])
def test_a_terminal_that_makes_surrogates_of_them_changes_nothing(
    typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(click, "prompt", lambda *_, **__: typed)
    with pytest.raises(click.UsageError, match="the user that was typed is not text in UTF-8"):
        commands.asked_for("User")


# Whatever is forgotten above is still one line: the guard around every command.


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "add", "ana\udcff", "--password-stdin", "--store", "memory:"],
        ["users", "import", "\udcff.csv", "--store", "memory:"],
        ["serve", "--store", "\udcff"],
        ["serve", "--store", "memory:", "--catalogue", "\udcff"],
        ["serve", "--store", "csv:\udcff/x", "--catalogue", "\udcff"],
        ["serve", "--log-level", "\udcff"],
        ["verify", "\udcff"],
        ["verify", "\x1b[31m"],
        ["products", "--\udcff"],
        ["orders", "--before", "\udcff"],
        ["buy", "Ball", "--key", "\udcff"],
        ["buy", "--item", "Ball=\udcff"],
        ["\udcff"],
    ],
    ids=ascii,
)
def test_every_command_refuses_what_is_not_text_in_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sportshop", *arguments])
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(logs, "take_over_stderr", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    said = capfd.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.startswith("sportshop: ")
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.err


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates"), 2, r"'a\udcff'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), 2, "can't decode byte"),
        (UnicodeError("label empty or too long"), 2, "label empty or too long"),
        (PermissionError(13, "Permission denied", "a\x1b"), 1, r"a\x1b: Permission denied"),
        (OSError(28, "No space left on device"), 1, "cannot write to standard output"),
        (click.Abort(), 1, "aborted"),
        (KeyboardInterrupt(), 1, "aborted"),
    ],
)
def test_what_nobody_foresaw_is_one_line(
    problem: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr("sys.argv", ["sportshop", "users", "import", "x.csv"])
    monkeypatch.setattr(catalogue, "read_users", fail)
    monkeypatch.setattr(streams, "discard", lambda stream: None)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    lines = capfd.readouterr().err.strip()
    assert ended.value.code == code
    assert lines.startswith("sportshop: ")
    assert said in lines
    assert lines.count("\n") == 0
