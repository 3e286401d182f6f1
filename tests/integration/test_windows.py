"""Deployment windows by API and command line, into a running sidecar."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.__main__ import main
from tests.acceptance.world import alert, webhook
from tests.fakes import FakeWebhook
from tests.integration.running import Running, hooks, running

SECRET = "an api secret"
AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}
DEPLOY: dict[str, Any] = {"name": "deploy", "owner": "ci", "matchers": ['namespace="shop"'], "lease": "10m"}
SHOP = {"severity": "WARNING", "namespace": "shop"}


@pytest.fixture
async def people() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as started:
        yield started


@pytest.fixture
async def sidecar(database_url, people) -> AsyncIterator[Running]:
    settings = {"server": {"api_secret": SECRET}, "windows": {"most": 3}}
    async with running(database_url, receivers=hooks(people), **settings) as started:
        yield started


async def ask(sidecar: Running, method: str, path: str = "", body: Any = None, **how: Any) -> tuple[int, Any]:
    how.setdefault("headers", AUTHORIZED)
    status, text = await sidecar.request(method, f"/api/v2/windows{path}", json=body, **how)
    return status, json.loads(text)


async def decided(sidecar: Running) -> list[str]:
    await sidecar.caught_up()
    return [row["verdict"] for row in await sidecar.rows("SELECT verdict FROM decisions ORDER BY seq, n")]


async def test_a_deployment_from_open_to_end(sidecar, people):
    """What fires meanwhile waits, and is told the moment it is over."""
    status, window = await ask(sidecar, "POST", body=DEPLOY)
    assert (status, window["name"], window["owner"], window["severities"], window["waiting"]) == (
        200, "deploy", "ci", ["INFO", "WARNING"], 0,
    )  # fmt: skip
    await sidecar.post(webhook([alert("HighErrorRate", **SHOP)]))
    assert await decided(sidecar) == ["hold"]
    status, listed = await ask(sidecar, "GET")
    assert (status, [(one["name"], one["waiting"]) for one in listed["windows"]]) == (200, [("deploy", 1)])
    status, renewed = await ask(sidecar, "POST", body=DEPLOY | {"comment": "release 42"})
    assert (status, renewed["opened_at"], renewed["comment"]) == (200, window["opened_at"], "release 42")
    assert people.requests == []
    assert (await ask(sidecar, "DELETE", "/deploy"))[1]["waiting"] == 1
    assert await decided(sidecar) == ["hold", "notify"]
    await people.wait_for(1)
    assert (await ask(sidecar, "GET"))[1] == {"windows": []}


async def test_a_lease_ends_by_itself(sidecar, people):
    """The ticker sees to it."""
    assert (await ask(sidecar, "POST", body=DEPLOY | {"lease": "1s"}))[0] == 200
    await sidecar.post(webhook([alert("HighErrorRate", **SHOP)]))
    await people.wait_for(1, 15)
    assert await decided(sidecar) == ["hold", "notify"]
    assert (await ask(sidecar, "GET"))[1] == {"windows": []}


async def test_a_window_outlives_a_restart(database_url, people):
    """It is in the log."""
    async with running(database_url, receivers=hooks(people)) as first:
        assert (await ask(first, "POST", body=DEPLOY))[0] == 200
        await first.post(webhook([alert("HighErrorRate", **SHOP)]))
    async with running(database_url, receivers=hooks(people)) as second:
        assert (await ask(second, "GET"))[1]["windows"][0]["waiting"] == 1
        assert (await ask(second, "DELETE", "/deploy"))[0] == 200
        await people.wait_for(1)


async def test_another_owner_is_refused_in_words(sidecar):
    """To open it, and to end it when they say who they are."""
    await ask(sidecar, "POST", body=DEPLOY)
    status, answer = await ask(sidecar, "POST", body=DEPLOY | {"owner": "ada"})
    assert status == 409
    assert "belongs to ci: take another name" in answer["error"]
    assert (await ask(sidecar, "DELETE", "/deploy?owner=ada"))[0] == 409
    assert (await ask(sidecar, "DELETE", "/deploy?owner=ci"))[0] == 200
    assert await ask(sidecar, "DELETE", "/deploy") == (
        404, {"error": "there is no open window 'deploy': it ended, or never was"},
    )  # fmt: skip


async def test_two_who_open_the_same_name_at_once_are_one_window(sidecar):
    """One is told so, the other is refused."""
    bodies = [DEPLOY | {"owner": f"ci-{n}"} for n in range(8)]
    answers = await asyncio.gather(*(ask(sidecar, "POST", body=body) for body in bodies))
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    (owner,) = [answer["owner"] for status, answer in answers if status == 200]
    assert sidecar.parts.decider.state.windows["deploy"].owner == owner


async def test_there_are_at_most_so_many(sidecar):
    for n in range(3):
        assert (await ask(sidecar, "POST", body=DEPLOY | {"name": f"d{n}"}))[0] == 200
    status, answer = await ask(sidecar, "POST", body=DEPLOY)
    assert (status, answer["error"]) == (409, "3 windows are open already (windows.most): end one first")
    assert (await ask(sidecar, "POST", body=DEPLOY | {"name": "d0"}))[0] == 200


WRONG: list[tuple[Any, str]] = [
    (b"nonsense", "Send name, owner and matchers"),
    ({"name": "deploy"}, "owner"),
    (DEPLOY | {"nmae": "x"}, "nmae"),
    (DEPLOY | {"name": " "}, "`name` needs 1 to 100"),
    (DEPLOY | {"name": "a/b"}, "without a slash"),
    (DEPLOY | {"owner": "a\u0007b"}, "`owner` needs"),
    (DEPLOY | {"comment": "x" * 2001}, "`comment` has at most 2000"),
    (DEPLOY | {"lease": "ten minutes"}, "is not a duration"),
    (DEPLOY | {"lease": 600}, 'did you mean "600s"?'),
    (DEPLOY | {"lease": "0s"}, "above 0 and at most 1h"),
    (DEPLOY | {"lease": "61m"}, "at most 1h (windows.max_lease)"),
    (DEPLOY | {"matchers": []}, "`matchers` needs 1 to 50"),
    (DEPLOY | {"matchers": ["namespace"]}, "is not a matcher"),
    (DEPLOY | {"matchers": ['namespace=~"(?=x)"']}, "RE2"),
    (DEPLOY | {"matchers": ['namespace=~".*"']}, "match every alert"),
    (DEPLOY | {"severities": []}, "`severities` is empty"),
    (DEPLOY | {"severities": ["critical"]}, "CRITICAL is never kept back (guard.never_suppress)"),
    (DEPLOY | {"severities": ["fatal"]}, "is no severity that may wait"),
]


async def test_mistakes_are_answered_in_words_and_open_nothing(sidecar):
    for body, words in WRONG:
        how = {"data": body} if isinstance(body, bytes) else {"json": body}
        status, text = await sidecar.request("POST", "/api/v2/windows", headers=AUTHORIZED, **how)
        assert (status, words in json.loads(text)["error"]) == (400, True), (body, text)
    assert len(sidecar.parts.decider.state.windows) == 0


async def test_every_method_wants_the_secret_and_a_sidecar_that_is_ready(sidecar):
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/deploy")):
        assert (await ask(sidecar, method, path, DEPLOY, headers={}))[0] == 401
        sidecar.parts.ready = False
        assert (await ask(sidecar, method, path, DEPLOY))[0] == 503
        sidecar.parts.ready = True


# -------------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def told(tmp_path, capsys):
    """Runs `sidecar window ...` against a sidecar, in a thread; (exit code, output, errors)."""
    secret = tmp_path / "api.secret"
    secret.write_text(f"{SECRET}\n")

    async def run(sidecar: Running, action: str, *words: str) -> tuple[int, str, str]:
        head = ["window", action, "--url", sidecar.url, "--secret-file", str(secret)]
        code = await asyncio.to_thread(main, [*head, *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


MATCH = ("--match", 'namespace="shop"')


async def test_the_command_opens_lists_and_ends(sidecar, told):
    code, out, _ = await told(sidecar, "open", "--name", "deploy", *MATCH, "--severity", "info", "--comment", "r42")
    assert (code, out.startswith("deploy is open until "), out.endswith(", for INFO\n")) == (0, True, True)
    code, out, _ = await told(sidecar, "list")
    assert (code, "0 waiting" in out, 'INFO {namespace="shop"}' in out, out.endswith("r42\n")) == (0, True, True, True)
    assert (await told(sidecar, "end", "--name", "deploy"))[:2] == (
        0,
        "deploy has ended: 0 alert(s) that waited are decided now\n",
    )
    assert (await told(sidecar, "list"))[1] == "no window is open\n"


async def test_the_command_says_what_the_sidecar_says(sidecar, told, tmp_path):
    code, _, err = await told(sidecar, "open", "--name", "deploy", "--match", "x", "--lease", "2h")
    assert (code, "`lease` is above 0 and at most 1h" in err) == (1, True)
    (tmp_path / "api.secret").write_text("wrong")
    code, _, err = await told(sidecar, "list")
    assert (code, "refuses the secret" in err) == (1, True)


async def test_run_keeps_the_window_open_as_long_as_its_command(sidecar, told):
    """It is renewed meanwhile, ended after, and the command's exit code is passed on."""
    script = "import time; time.sleep(2.5); raise SystemExit(7)"
    running_ = asyncio.create_task(
        told(sidecar, "run", "--name", "deploy", *MATCH, "--lease", "1s", "--", sys.executable, "-c", script)
    )
    await asyncio.sleep(2)
    assert "deploy" in sidecar.parts.decider.state.windows
    code, out, err = await running_
    assert (code, "deploy has ended" in out, err) == (7, True, "")
    assert len(sidecar.parts.decider.state.windows) == 0


async def test_a_sidecar_that_is_not_there_is_named(capsys):
    assert await asyncio.to_thread(main, ["window", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1 cannot be asked" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, "<html>"), (200, {}, "null"), (200, {}, "[]"), (200, {}, '{"name": 5, "windows": [{}]}'), (200, {}, "[" * 99_999),
        (302, {"Location": "/"}, ""), (500, {}, '{"error": {}}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", [["list"], ["open", "--match", "a=b"], ["end"]])
async def test_a_server_that_is_no_sidecar(people, answer, action, capsys):
    """It ends with a sentence, whatever was answered."""
    people.fail(always=answer)
    options = [] if action == ["list"] else ["--name", "deploy"]
    url = people.url.rpartition("/")[0] or people.url
    code = await asyncio.to_thread(main, ["window", "--config", "none.yml", *action, *options, "--url", url])
    assert code == 1
    assert "sidecar" in (said := capsys.readouterr().err)
    assert "--url" in said
