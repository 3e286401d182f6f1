"""docs/stories.md: the stories as tables, for people who decide whether this is what they want."""

from __future__ import annotations

import re
from typing import Final

from tests.stories.script import BY_ITSELF, FOLDER, Row, Story, Theme

PAGE: Final = FOLDER.parent.parent / "docs" / "stories.md"
HEAD: Final = """# What it does, as stories

{count} stories: what comes in, what is decided and why, and who is told. They are played through the whole pipeline at
every test, and this page is written from them: `make stories` writes it anew, after a change that is meant. Times are
those at which Alertmanager's webhook arrives. Where a story says nothing else, the configuration is empty but for an
Alertmanager that takes silences, and the audit sample is off, since it draws at random; an alert of which no score is
named scores 0.10, surely no noise. "11 incidents of X, voted noise" are one after the other, two hours apart, each on an
instance of its own, and of a service of its own unless one is named; what follows from them is counted.

A line of the third column is a verdict, the alert, and why; several reasons are those of several rules, in their order.
An empty cell is that nothing is decided anew, or nobody told: people have what they need.
The last column is the message: the receiver, what kind (`notify` interrupts, as do `raise` and `reminder`; `update` and
`resolve` change what people have), and the alert with which its incident began, or the incident's title in quotes.
"""


def page(themes: list[Theme]) -> str:
    """The whole page."""
    parts = [HEAD.format(count=sum(len(theme.stories) for theme in themes))]
    parts.append("\n".join(f"- [{theme.theme}](#{_anchor(theme.theme)}), {_few(theme)}" for theme in themes) + "\n")
    for theme in themes:
        parts.append(f"## {theme.theme}\n\n{' '.join(theme.about.split())}\n")
        parts.extend(map(_story, theme.stories))
    return "\n".join(parts)


def _few(theme: Theme) -> str:
    count = len(theme.stories)
    return f"{count} stories" if count > 1 else "one story"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _story(story: Story) -> str:
    given = [story.because, *_given(story)]
    config = f"\n\n```yaml\n{story.config.strip()}\n```" if story.config.strip() else ""
    rows = [_cells(row) for row in story.rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    head = "| when | what happens | what is decided, and why | who is told |\n|---|---|---|---|"
    return f"### {story.title}\n\n{' '.join(given)}{config}\n\n{head}\n{table}\n"


def _given(story: Story) -> list[str]:
    said = []
    if story.zone != "UTC":
        said.append(f"Times are those of {story.zone}.")
    if (proven := story.given.get("proven")) is not None:
        what = [f"{word} from {proven[word]:.2f} on" for word in ("hold", "suppress") if word in proven]
        said.append(f"Training has proven that scores may {' and '.join(what)}.")
    if "score" in story.given:
        score = story.given["score"]
        said.append("No model answers." if score == "none" else f"The model says {score:.2f} of all.")
    if "failing" in story.given:
        said.append(f"The rule `{story.given['failing']}` has a defect.")
    return said


def _cells(row: Row) -> tuple[str, str, str, str]:
    by_itself = row.by_itself
    when = re.match(r"(?:[\d-]{10} |[A-Z][a-z]{2} )?[\d:+.]+[smhd]?", row.when)
    moment = when[0] if when else ""
    what = "the clock" if by_itself else row.when[len(moment) :].strip()
    told = [line.removeprefix("-> ") for line in row.follows if "-> " in line]
    decided = [line for line in row.follows if "-> " not in line]
    return moment, _text(what), "<br>".join(map(_decided, decided)), "<br>".join(map(_text, told))


def _decided(line: str) -> str:
    """A verdict stands out, and so does the rule of each reason."""
    what, *why = line.split(" | ")
    verdict, _, rest = _text(what).partition(" ")
    reasons = [re.sub(r"^(\w+): ", r"*\1*: ", _text(one).replace("\\_", "_")) for one in why]
    return "; ".join([f"**{verdict}** {rest}", *reasons])


def _text(text: str) -> str:
    return text.removesuffix(BY_ITSELF).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
