"""The files of stories: read, played, and written again with what really follows."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import yaml

from tests.stories.account import Account
from tests.stories.stage import FIRST_DAY, Stage, configured, failing, wall
from tests.stories.steps import is_course, play
from tests.stories.words import Unreadable

FOLDER: Final = Path(__file__).parent
BY_ITSELF: Final = " (by itself)"
KEYS: Final = {"title", "because", "zone", "config", "score", "proven", "failing", "story"}


@dataclass(frozen=True)
class Row:
    """A step, or what the clock brought by itself, and what followed from it."""

    when: str  # the step as it is written
    follows: tuple[str, ...] = ()

    @property
    def by_itself(self) -> bool:
        return self.when.endswith(BY_ITSELF)


@dataclass(frozen=True)
class Story:
    """One story as its file has it."""

    title: str
    because: str  # why it has to end so: the specification, the architecture, common sense
    config: str
    zone: str
    given: dict[str, Any]  # score, proven, failing
    written: str  # the block: steps, and what should follow

    @property
    def rows(self) -> list[Row]:
        """The block, taken apart."""
        rows: list[Row] = []
        for line in self.written.splitlines():
            if not line.strip():
                continue
            if line.startswith(" "):
                rows[-1] = Row(rows[-1].when, (*rows[-1].follows, line.strip()))
            else:
                rows.append(Row(line.strip()))
        return rows

    def stage(self) -> Stage:
        """Where it plays."""
        score, begins = self.given.get("score", 0.1), re.match(r"\d{4}-\d\d-\d\d", self.written)
        return Stage(
            configured(self.config),
            ZoneInfo(self.zone),
            first_day=begins[0] if begins else FIRST_DAY,
            usual_score=None if score == "none" else score,
            rules=failing(self.given.get("failing", "")),
            proven=self.given.get("proven"),
        )


@dataclass(frozen=True)
class Theme:
    """One file."""

    path: Path
    theme: str
    about: str
    stories: tuple[Story, ...]


def themes(folder: Path = FOLDER) -> list[Theme]:
    """All files, in the order of their names. Raises Unreadable for a key or a story that is not as it should be."""
    return [_theme(path) for path in sorted(folder.glob("*.yml"))]


def _theme(path: Path) -> Theme:
    held = yaml.safe_load(path.read_text("utf-8"))
    return Theme(path, held["theme"], held["about"].strip(), tuple(_story(one, path) for one in held["stories"]))


def _story(held: dict[str, Any], path: Path) -> Story:
    unknown = set(held) - KEYS
    if unknown or not {"title", "because", "story"} <= set(held):
        raise Unreadable(f"{path.name}: {held.get('title')!r} has {unknown or 'no title, because or story'}")
    given = {key: held[key] for key in ("score", "proven", "failing") if key in held}
    because = " ".join(held["because"].split())
    return Story(held["title"], because, held.get("config", ""), held.get("zone", "UTC"), given, held["story"])


def played(story: Story, stage: Stage) -> list[Row]:
    """The same story with what really follows from its steps."""
    account = Account(stage.config, stage.zone)
    rows: list[Row] = []
    for step in (row for row in story.rows if not row.by_itself):
        since = stage.now
        by_itself, followed = play(stage, step.when)
        for one in by_itself:
            rows.append(Row(f"{wall(one.at, since, stage.zone)}{BY_ITSELF}", tuple(account.of([one]))))
            since = one.at
        rows.append(Row(step.when, tuple(account.of(followed, brief=is_course(step.when)))))
    return rows


def block(rows: list[Row]) -> str:
    """Rows as a file has them."""
    return "\n".join(line for row in rows for line in (row.when, *(f"   {what}" for what in row.follows))) + "\n"


def rewritten(theme: Theme) -> str:
    """The file with what really follows; all else in it stays as it is."""
    text = theme.path.read_text("utf-8")
    lines = text.splitlines()
    nodes = [_block_of(node) for node in _stories_of(yaml.compose(text))]
    for node, story in reversed(list(zip(nodes, theme.stories, strict=True))):
        first, last = node.start_mark.line + 1, node.end_mark.line
        while last > first and not lines[last - 1].strip():
            last -= 1
        indent = " " * (len(lines[first]) - len(lines[first].lstrip()))
        lines[first:last] = textwrap.indent(block(played(story, story.stage())), indent).splitlines()
    return "\n".join(lines) + "\n"


def _stories_of(node: Any) -> list[Any]:
    return next(value.value for key, value in node.value if key.value == "stories")


def _block_of(node: Any) -> Any:
    return next(value for key, value in node.value if key.value == "story")
