"""`sidecar window`: deployment windows from the command line, by the API of the sidecar that serves."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from msgspec import Struct

from sidecar.errors import SidecarError

EXAMPLES: Final = """examples:
  sidecar window open --name deploy --match 'namespace="shop"' --lease 10m --comment "release 42"
  sidecar window renew --name deploy --match 'namespace="shop"'     before the lease ends; the same owner
  sidecar window list
  sidecar window end --name deploy                                  what still fires is told at once
  sidecar window run --name deploy --match 'namespace="shop"' -- make deploy
  sidecar window list --url http://sidecar:9095 --secret-file api.secret

while a window is open, INFO and WARNING alerts that match wait; CRITICAL never does
"""
PATH: Final = "/api/v2/windows"
_ABOUT: Final = {
    "open": "Open a window",
    "renew": "Renew it before its lease ends: the same name, owner and matchers",
    "end": "End it: what still fires is told at once",
    "list": "The windows that are open",
    "run": "Open it, renew it while a command runs, and end it; exits as the command does",
}
RENEWALS: Final = 3  # within a lease: one may fail
LEAST_SECONDS: Final = 0.2  # between two renewals


class Window(Struct):
    """One as the API answers it."""

    name: str
    owner: str
    matchers: tuple[str, ...]
    severities: tuple[str, ...]
    ends_at: str
    comment: str
    waiting: int


class Windows(Struct):
    windows: tuple[Window, ...]


class Server(NamedTuple):
    """Whom to ask."""

    url: str
    secret: str


def add_window(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command; `add` is of the command line."""
    window = add("window", _window, "Deployment windows: alerts that match wait while one is open")
    window.epilog, window.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    actions = window.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name, about in _ABOUT.items():
        action = actions.add_parser(name, help=about, description=about, epilog=window.epilog)
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", default=argparse.SUPPRESS, metavar="FILE", help="default: sidecar.yml")
        action.add_argument("--url", default="", help="where the sidecar serves; default: server.listen")
        action.add_argument(
            "--secret-file", metavar="FILE", help="a file with server.api_secret; default: from --config"
        )
        if name != "list":
            action.add_argument("--name", required=True, help="the window's")
            action.add_argument("--owner", default="", help="whose it is; default: you, on this host; of end: anybody")
        if name in ("open", "renew", "run"):
            _add_what(action)
        if name == "run":
            action.add_argument(
                "command", nargs="+", metavar="COMMAND", help="after --; the window lasts as long as it"
            )


def _add_what(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--match",
        action="append",
        required=True,
        metavar="MATCHER",
        help="""e.g. 'namespace="shop"'; all have to match""",
    )
    action.add_argument("--severity", action="append", default=[], help="what waits; default: INFO and WARNING")
    action.add_argument("--lease", default="10m", metavar="TIME", help="until it ends by itself; default: 10m")
    action.add_argument("--comment", default="", help="what for")


def _window(options: argparse.Namespace) -> int:
    return asyncio.run(_ACTIONS[options.action](options, _server(options)))


def _server(options: argparse.Namespace) -> Server:
    from sidecar.config import load  # noqa: PLC0415 - so that --help is quick

    secret = ""
    if options.secret_file is not None:
        try:
            secret = Path(options.secret_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise SidecarError(f"--secret-file {options.secret_file} cannot be read: {fault}") from None
    if options.url and (options.secret_file is not None or not Path(options.config).exists()):
        return Server(options.url, secret)
    server = load(options.config).server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104 - every interface has it
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return Server(options.url or f"http://{host}:{server.port}", secret or server.api_secret_value)


def _owner(options: argparse.Namespace) -> str:
    return options.owner or f"{getpass.getuser()}@{platform.node()}"


async def _open(options: argparse.Namespace, server: Server) -> int:
    found = await _renewed(options, server)
    print(f"{found.name} is open until {found.ends_at}, for {', '.join(found.severities)}")
    return 0


async def _renewed(options: argparse.Namespace, server: Server) -> Window:
    from sidecar.watch.running import ask  # noqa: PLC0415 - as above

    body = {
        "name": options.name,
        "owner": _owner(options),
        "matchers": options.match,
        "lease": options.lease,
        "comment": options.comment,
    }
    return await ask(server.url, "POST", PATH, Window, server.secret, body | _severities(options))


def _severities(options: argparse.Namespace) -> dict[str, Any]:
    names = [name.strip() for text in options.severity for name in text.split(",")]
    return {"severities": names} if names else {}


async def _end(options: argparse.Namespace, server: Server) -> int:
    from sidecar.watch.running import ask  # noqa: PLC0415 - as above

    query = f"?owner={quote(options.owner, safe='')}" if options.owner else ""
    path = f"{PATH}/{quote(options.name, safe='')}{query}"
    found = await ask(server.url, "DELETE", path, Window, server.secret)
    print(f"{found.name} has ended: {found.waiting} alert(s) that waited are decided now")
    return 0


async def _list(_: argparse.Namespace, server: Server) -> int:
    from sidecar.watch.running import ask  # noqa: PLC0415 - as above

    windows = (await ask(server.url, "GET", PATH, Windows, server.secret)).windows
    for one in windows:
        comment = f"  {one.comment}" if one.comment else ""
        where = f"{', '.join(one.severities)} {{{', '.join(one.matchers)}}}"
        print(f"{one.name}  until {one.ends_at}  of {one.owner}  {one.waiting} waiting  {where}{comment}")
    if not windows:
        print("no window is open")
    return 0


async def _run(options: argparse.Namespace, server: Server) -> int:
    """Open it, renew it while the command runs, end it; the command's exit code."""
    from sidecar.config.durations import parse_duration  # noqa: PLC0415 - as above

    await _open(options, server)
    renewing = asyncio.create_task(_renew(options, server, parse_duration(options.lease) / RENEWALS))
    try:
        process = await asyncio.create_subprocess_exec(*options.command)
        return await process.wait()
    except OSError as fault:
        raise SidecarError(f"{options.command[0]} cannot be started: {fault.strerror or fault}") from None
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        await _ended(options, server)


async def _renew(options: argparse.Namespace, server: Server, every: float) -> None:
    while True:
        await asyncio.sleep(max(LEAST_SECONDS, every))
        try:
            await _renewed(options, server)
        except SidecarError as error:  # the deployment goes on; the window may end before it does
            print(f"sidecar: the window was not renewed: {error}", file=sys.stderr)


async def _ended(options: argparse.Namespace, server: Server) -> None:
    try:
        await _end(options, server)
    except SidecarError as error:
        print(f"sidecar: {error}", file=sys.stderr)


_ACTIONS: Final = {"open": _open, "renew": _open, "end": _end, "list": _list, "run": _run}
