"""The page of a study, `index.html`: one file, no network, nothing in it runs but its own script.

Owns the public names: `as_html` makes the page, `texts.load` reads what the browser of items shows, a `Section` adds to
it. `shell.page` with `style.css` and `theme.js` is for other pages too.
"""

from harness.report.page.document import Section, Table, as_html

__all__ = ["Section", "Table", "as_html"]
