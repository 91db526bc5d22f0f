"""A page in one file: templates, style, script, and the policy that lets nothing else run.

Owns how a page is put together and how hostile text is made harmless in it. Knows no result. Invariant: what stands in
a page is escaped, nothing is loaded from anywhere, and a browser runs the scripts of this package and no other, since
the policy names their digests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_HERE = Path(__file__).parent
# What would end a script element, begin a comment in it or break a line of it; and halves of characters, which are no
# text. `&` is none of these, and a reader of the source is spared a question.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_HARMLESS_SPACE = "\n\t"


def visible(text: str) -> str:
    """Return a text with escapes for what cannot be seen: control characters, marks that turn the reading direction,
    halves of characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _HARMLESS_SPACE else _escape(one) for one in text)


def _escape(one: str) -> str:
    if one.isspace():
        return " "
    return one.encode("unicode_escape").decode()


def inert(value: Any) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def page(
    template: str,
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    values: Mapping[str, Any],
    folders: Sequence[Path] = (),
) -> str:
    """Return a whole HTML document.

    Args:
        template: extends `base.html`, which needs `title` among the values.
        styles, scripts: file names; all of each become one element.
        values: what the template shows. Strings are escaped, SVG of `drawing` has to be given as `safe(svg)`.
        folders: where templates, styles and scripts are looked for before this package.
    """
    from markupsafe import Markup

    places = [*folders, _HERE]
    style, script = (_joined(names, places) for names in (styles, scripts))
    policy = "; ".join(
        [
            *("default-src 'none'", f"style-src '{_digest(style)}'", f"script-src '{_digest(script)}'"),
            *("base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"),
        ]
    )
    return (
        _environment(tuple(map(str, places)))
        .get_template(template)
        .render(**values, style=Markup(style), script=Markup(script), policy=Markup(policy))
    )


def safe(svg: str) -> Markup:
    """Mark SVG of `drawing`, which is escaped already, as to be put in as it is."""
    from markupsafe import Markup

    return Markup(svg)


@functools.lru_cache(maxsize=8)
def _environment(places: tuple[str, ...]) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(places),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inert"] = lambda value: Markup(inert(value))
    return environment


def _joined(names: Sequence[str], places: Sequence[Path]) -> str:
    texts = []
    for name in names:
        path = next(folder / name for folder in places if (folder / name).is_file())
        texts.append(path.read_text(encoding="utf-8"))
    text = "\n" + "\n".join(texts)
    assert "</" not in text and "<!--" not in text, "a style or script of ours would end its own element"
    return text


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
