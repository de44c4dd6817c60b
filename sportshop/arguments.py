"""Arguments: what people write for a host, a port, a time, and what is meant by it.

An argument can be any bytes at all and a variable may have been set by somebody else; what can't
be meant is refused in one line that says what to write. Knows no command.
"""

import ipaddress
import math
import re
from typing import Any

import click

NOTICES = "sportshop.notices"
"""Where a context keeps what a command should tell of its arguments."""
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables: beside a
# service called sportshop every container gets SPORTSHOP_PORT=tcp://10.0.0.1:3333.
_is_kubernetes = re.compile(r"(tcp|udp|sctp)://\S+:\d+").fullmatch
_has_port = re.compile(r"(?P<host>[^:\[\]]+|\[.*\]):(?P<port>\d*)").fullmatch


def address(host: str, port: int) -> str:
    """Write an address as one gives it to a client."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_text(argument: str) -> bool:
    """Tell whether an argument is text: bytes that are not UTF-8 come as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_line_end(password: str) -> str:
    """Return a password as it was meant: without the line end or the mark of a file's begin."""
    return password.removeprefix("\ufeff").rstrip("\r\n")


class Text(click.types.StringParamType):
    """Any text. Bytes that are none are refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the text, or refuse it."""
        if not is_text(str(value)):
            self.fail(f"{value!a} is not text in UTF-8.", param, ctx)
        return str(value)


class Host(Text):
    """The name or address of a machine, without a port; IPv6 with brackets or without."""

    def __init__(self, listens: bool) -> None:
        self._nobody = (
            "write 0.0.0.0 (or ::) to listen on every address of this machine."
            if listens
            else "write the shop's name or address."
        )

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the host, or refuse it."""
        host = super().convert(value, param, ctx).strip()
        if host in {"", "*"}:
            self.fail(f"{host!r} is no address: {self._nobody}", param, ctx)
        _, scheme, rest = host.rpartition("://")
        if scheme:
            self.fail(f"{host!r} is a URL: write the host alone, {rest!r}.", param, ctx)
        if named := _has_port(host):
            place = f"--host {named['host']} --port {named['port'] or '3333'}"
            self.fail(f"{host!r} has a port in it: write {place}.", param, ctx)
        host = host.removeprefix("[").removesuffix("]")
        if not _can_be_a_host(host):
            self.fail(f"{host!r} is neither a name nor an address of a machine.", param, ctx)
        return host


def _can_be_a_host(host: str) -> bool:
    """Tell whether looking for it makes sense; what asks the network may still not find it."""
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        elif not host.isascii():
            host.encode("idna")
    except ValueError:  # UnicodeError is one
        return False
    return host.isprintable() and not any(character.isspace() for character in host)


class Port(click.IntRange):
    """A port. What Kubernetes puts into the variable is passed over, with a notice."""

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the port, or refuse it."""
        if isinstance(value, str):
            if _is_kubernetes(value) and _is_from_the_environment(param, ctx):
                return self._default_of(value, param, ctx)
            if not value.strip().removeprefix("-").isdecimal():
                self.fail(f"{value!r} is not a valid integer: write 3333, say.", param, ctx)
        port: int = super().convert(value, param, ctx)
        return port

    def _default_of(self, value: str, param: click.Parameter, ctx: click.Context) -> int:
        port = int(param.get_default(ctx) or 0)
        notice = (
            f"passed over {param.envvar}={value}, which Kubernetes sets for a service of that"
            f" name: the port is {port} unless --port says otherwise"
        )
        ctx.meta.setdefault(NOTICES, []).append(notice)
        return port


def _is_from_the_environment(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    if param is None or ctx is None or param.name is None:
        return False
    return ctx.get_parameter_source(param.name) is click.core.ParameterSource.ENVIRONMENT


class Seconds(click.FloatRange):
    """A number of seconds: click's own range lets NaN pass."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the number, or refuse it."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds
