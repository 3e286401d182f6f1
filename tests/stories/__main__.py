"""`make stories`: write what really follows into the files, and the page from them."""

from tests.stories.page import PAGE, page
from tests.stories.script import rewritten, themes

for theme in themes():
    theme.path.write_text(rewritten(theme), "utf-8")
read = themes()
PAGE.write_text(page(read), "utf-8")
print(
    f"{sum(len(theme.stories) for theme in read)} stories. What changed is what is to be reviewed: git diff tests/stories"
)
