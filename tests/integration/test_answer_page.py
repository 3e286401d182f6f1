"""The page behind a link to answer by, in a real browser that presses its button."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.domain import FeedbackKind
from sidecar.links import Answer, sign
from tests.acceptance.world import alert, webhook, within
from tests.integration.running import Running, running
from tests.servers import find_program

EVIL = """<b>x</b><script>document.title='owned'</script>"'><img src=x onerror="document.title='owned'">"""
VOTES = "SELECT who, kind, retracted FROM votes"


class Browser:
    """One tab of a headless Chromium, by its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.requested: list[str] = []  # every URL that the page asked for
        self.errors: list[str] = []  # what its console says, refusals by the policy among them

    async def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command; what happens meanwhile is kept."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        while True:
            said = json.loads((await self._socket.receive(timeout=60)).data)
            if said.get("id") == self._count:
                assert "error" not in said, said
                return said["result"]
            if said.get("method") == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])
            elif said.get("method") == "Log.entryAdded":
                self.errors.append(said["params"]["entry"]["text"])

    async def run(self, script: str) -> Any:
        return (await self("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def open(self, url: str) -> str:
        await self("Page.navigate", url=url)
        return await self.shows("document.readyState === 'complete' && document.querySelector('h1') !== null")

    async def shows(self, condition: str) -> str:
        """The page's text, once the condition holds."""
        await within(30, lambda: self.run(condition), condition)
        return await self.run("document.body.innerText")


@asynccontextmanager
async def browser(place: Path) -> AsyncIterator[Browser]:
    command = [
        find_program("google-chrome", "chromium-browser", "chromium"), "--headless", "--no-sandbox", "--disable-gpu",
        "--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-port=0",
        f"--user-data-dir={place}", "about:blank",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        file = place / "DevToolsActivePort"
        await within(60, lambda: file.exists() and "\n" in file.read_text(), "the browser starts")
        port = file.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                (tab,) = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Browser(socket)
                for part in ("Page", "Runtime", "Network", "Log"):
                    await opened(f"{part}.enable")
                yield opened
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def sidecar(sqlite_url) -> AsyncIterator[Running]:
    server = {"external_url": "http://127.0.0.1", "api_secret": "key"}
    async with running(sqlite_url, server=server, receivers=[{"name": "default", "log_configs": [{}]}]) as started:
        yield started


async def votes(sidecar: Running) -> list[tuple[str, str, bool]]:
    await sidecar.caught_up()
    return [(row["who"], row["kind"], bool(row["retracted"])) for row in await sidecar.rows(VOTES)]


async def test_a_person_answers_with_one_tap_and_takes_it_back(sidecar, tmp_path):
    """By keyboard alone: opening votes for nothing, Enter votes, Undo takes it back; the name is there the next time."""
    assert await sidecar.post(webhook([alert(EVIL, severity="warning", service=EVIL)])) == (200, "ok")
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT incident FROM episodes")
    answer = Answer(FeedbackKind.FALSE_POSITIVE, row["incident"], -1, "default", int(sidecar.parts.clock()) + 60)
    url = f"{sidecar.url}/v/{sign(answer, 'key')}"
    async with browser(tmp_path / "profile") as tab:
        text = await tab.open(url)
        assert "Is this noise?" in text
        assert EVIL[:40] in text
        assert await tab.run("document.title") == "Is this noise?"
        assert await tab.run("getComputedStyle(document.querySelector('button')).backgroundColor") == "rgb(31, 95, 184)"
        assert await votes(sidecar) == []
        await tab.run("document.querySelector('#who').focus()")
        await tab("Input.insertText", text="Ada <Lovelace>")
        for kind in ("keyDown", "keyUp"):
            await tab(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )
        text = await tab.shows("document.querySelector('h1').innerText === 'Thank you'")
        assert "1 alert counted as noise, by Ada <Lovelace>." in text
        assert await votes(sidecar) == [("Ada <Lovelace>", "false_positive", False)]
        await tab.run("document.querySelector('button').click()")
        text = await tab.shows("document.body.innerText.includes('taken back')")
        assert await votes(sidecar) == [("Ada <Lovelace>", "false_positive", True)]
        await tab.open(url)
        assert await tab.run("document.querySelector('#who').value") == "Ada <Lovelace>"
        assert {one for one in tab.requested if not one.endswith("/favicon.ico")} == {url}
        assert [one for one in tab.errors if "favicon" not in one and "404" not in one] == []


async def test_the_page_can_be_read_by_everybody(sidecar, tmp_path):
    """Every control has a name, the headings begin at the first level, and it fits a narrow phone."""
    assert await sidecar.post(webhook([alert("A" * 300, severity="warning")])) == (200, "ok")
    await sidecar.caught_up()
    (row,) = await sidecar.rows("SELECT incident FROM episodes")
    answer = Answer(FeedbackKind.USEFUL, row["incident"], -1, "default", int(sidecar.parts.clock()) + 60)
    async with browser(tmp_path / "profile") as tab:
        await tab("Emulation.setDeviceMetricsOverride", width=320, height=600, deviceScaleFactor=2, mobile=True)
        await tab.open(f"{sidecar.url}/v/{sign(answer, 'key')}")
        await tab("Accessibility.enable")
        nodes = (await tab("Accessibility.getFullAXTree"))["nodes"]
        named = {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node and "role" in node}
        assert ("heading", "Is this real?") in named
        assert ("button", "Yes, this was real") in named
        assert any(role == "textbox" and name.startswith("Your name") for role, name in named)
        assert await tab.run("document.documentElement.scrollWidth <= 320")
        assert await tab.run("document.querySelector('button').getBoundingClientRect().height >= 44")
        assert await tab.run("document.documentElement.lang") == "en"
