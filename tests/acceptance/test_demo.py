"""What a newcomer sees first works: both acts, and their exit code."""

from __future__ import annotations

import asyncio
import os
import re
import sys

from sidecar.demo import live
from tests.servers import ROOT


async def play(*words: str, path: str | None = None) -> tuple[int, str]:
    environment = dict(os.environ) | ({} if path is None else {"PATH": path})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "demo", "--exit", *words, cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 240)
    return process.returncode, said.decode()


async def test_the_first_act_replays_a_history_and_loses_no_incident():
    """The scoreboard shows far fewer false interruptions, and every incident told that stock Alertmanager told."""
    code, said = await play("--act", "1")
    assert code == 0, said
    fewer = re.search(r"\((\d+)% fewer\)", said)
    assert fewer is not None, said
    assert int(fewer[1]) >= 70
    assert re.search(r"real incidents lost +0 +0", said), said


async def test_the_second_act_travels_through_a_real_alertmanager_and_changes_its_decision():
    assert live.find_alertmanager() is not None, "run: apt-get install -y prometheus-alertmanager"
    code, said = await play("--act", "2")
    assert code == 0, said
    assert "Alertmanager now has a silence by alertmanager-sidecar" in said
    assert "Nothing lost" in said


async def test_the_second_act_without_alertmanager_says_how_to_install_it_and_plays_all_the_same(tmp_path):
    code, said = await play("--act", "2", path=str(tmp_path))
    assert code == 0, said
    assert "apt-get install -y prometheus-alertmanager" in said
    assert "SUPPRESS" in said
