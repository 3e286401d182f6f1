"""The golden table: every story of tests/stories ends as its file says."""

from __future__ import annotations

import pytest

from sidecar.state import State
from tests.stories.page import PAGE, page
from tests.stories.script import Story, block, played, rewritten, themes
from tests.stories.stage import folded
from tests.stories.steps import play
from tests.stories.words import Unreadable

THEMES = themes()
ALL = [pytest.param(story, id=f"{theme.path.stem}: {story.title}") for theme in THEMES for story in theme.stories]
WRITE = "if the change is meant, run `make stories` and review the difference"


@pytest.mark.parametrize("story", ALL)
def test_a_story_ends_as_it_is_written(story: Story):
    """What is decided, why, and who is told, step by step; and its log alone leads to the same state."""
    stage = story.stage()

    assert block(played(story, stage)) == block(story.rows), WRITE
    assert folded(stage.log).dump() == stage.state.dump()
    assert State.load(stage.state.dump()).dump() == stage.state.dump()


def test_there_are_as_many_stories_as_promised_and_none_twice():
    """Sixty at least, each with a title of its own."""
    titles = [story.title for theme in THEMES for story in theme.stories]

    assert len(titles) >= 60
    assert len(set(titles)) == len(titles)


def test_the_page_of_stories_is_up_to_date():
    """docs/stories.md is what the files say."""
    assert PAGE.read_text("utf-8") == page(THEMES), "run: make stories"


def test_writing_again_what_is_right_changes_nothing():
    """Comments, order and configurations of a file stay as people wrote them."""
    for theme in THEMES:
        assert rewritten(theme) == theme.path.read_text("utf-8")


@pytest.mark.parametrize(
    "line",
    [
        "fires A",
        "09:00 A fires",
        "09:00 fires A web-1",
        "09:00 resolves A",
        "09:00 ada says nonsense of A",
        "09:00 sleeps",
    ],
)
def test_a_step_that_says_nothing_is_refused(line: str):
    """Rather than played as something else."""
    stage = Story("t", "b", "", "UTC", {}, "").stage()

    with pytest.raises((Unreadable, ValueError)):
        play(stage, line)
