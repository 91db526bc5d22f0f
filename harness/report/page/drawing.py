"""From a matplotlib figure to SVG that may stand inside a page.

Owns matplotlib: its settings, its fonts, and what becomes of its output. Knows no result. Invariant: equal figures give
equal bytes on every machine (own font, own salt, no date), every text is a text, nothing in it is style or script, and
all colours are classes, which the page's style sheet gives in dark and in light.
"""

from __future__ import annotations

import enum
import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from harness.report.page.shell import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Ink(enum.StrEnum):
    """Colours by their meaning. Matplotlib sees the value, the page the class `f-<name>` or `s-<name>`."""

    TEXT = "#010101"
    MUTED = "#020202"
    GRID = "#030303"
    REFERENCE = "#040404"
    TREATED = "#050505"
    CONTROL = "#060606"
    BASE = "#070707"
    UP = "#080808"
    DOWN = "#090909"
    BAND = "#0a0a0a"


FONT = 11.0
"""Size of text, px at the natural width; a phone of 390 px shows a plot of 400 px at about 0.9 of that."""

_SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": FONT,
    "path.simplify": False,
    "figure.dpi": 72,
    "text.color": Ink.TEXT.value,
    "axes.edgecolor": Ink.GRID.value,
    "axes.labelcolor": Ink.MUTED.value,
    "axes.labelsize": FONT,
    "xtick.color": Ink.MUTED.value,
    "ytick.color": Ink.MUTED.value,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": Ink.GRID.value,
    "grid.linewidth": 1.0,
    "axes.axisbelow": True,
    "lines.solid_capstyle": "round",
}
_SIZE = re.compile(r"([0-9.]+)px")
_WEIGHT = re.compile(r"\b(bold|[1-9]00)\b")
_REFERENCE = re.compile(r"#([\w-]+)")


@dataclass(kw_only=True, slots=True)
class Tips:
    """Texts that a pointer sees on parts of a plot."""

    texts: list[str] = field(default_factory=list)

    def on(self, artist: Any, text: str) -> None:
        """Give an artist of matplotlib a tooltip."""
        artist.set_gid(f"tip-{len(self.texts)}")
        self.texts.append(visible(text))


def label(text: str, longest: int) -> str:
    """Return a name as it may stand in a plot: control characters shown, the end cut off if it is too long."""
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def drawn(
    name: str,
    title: str,
    width: float,
    height: float,
    draw: Callable[[Figure, Axes, Tips], None],
    *,
    left: float,
    below: float = 40,
) -> str:
    """Return a plot as one `<svg>` element.

    Args:
        name: of the plot, ASCII; no other plot of a page may have it.
        title: what it shows, for those who do not see it.
        width, height: px.
        draw: fills the only axes.
        left, below: px beside the axes, for labels. All other margins are fixed, so that no font can move anything.
    """
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    sink, tips = io.BytesIO(), Tips()
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        # Texts stay texts: that the font of the measuring lacks a letter does not matter to a browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        above, right = 8.0, 12.0
        axes = figure.add_axes(
            (left / width, below / height, (width - left - right) / width, (height - below - above) / height)
        )
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        draw(figure, axes, tips)
        # The font that comes with matplotlib, not one of the same name that a machine may have beside it.
        own = str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
        for text in figure.findobj(Text):
            text.set_fontproperties(font_manager.FontProperties(fname=own, size=text.get_fontsize()))
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inert(sink.getvalue(), name, title, tips.texts)


def _inert(raw: bytes, name: str, title: str, tips: list[str]) -> str:
    """Return matplotlib's SVG without style, metadata, namespaces and ids that nothing points at."""
    root = ElementTree.fromstring(raw)
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
        one.attrib = {key.rpartition("}")[2]: value for key, value in one.attrib.items()}
        one.tail = None
        if one.tag not in ("text", "tspan"):
            one.text = None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    used = {found for one in root.iter() for value in one.attrib.values() for found in _REFERENCE.findall(value)}
    for one in list(root.iter()):
        _styled(one)
        gid = one.get("id", "")
        if gid.startswith("tip-"):
            tip = ElementTree.Element("title")
            tip.text = tips[int(gid.removeprefix("tip-"))]
            one.insert(0, tip)
        if gid not in used:
            one.attrib.pop("id", None)
    box = root.get("viewBox", "")
    root.attrib = {"viewBox": box, "class": "plot", "role": "img", "aria-labelledby": f"plot-{name}"}
    words = ElementTree.Element("title", {"id": f"plot-{name}"})
    words.text = visible(title)
    root.insert(0, words)
    return ElementTree.tostring(root, encoding="unicode")


def _styled(one: ElementTree.Element) -> None:
    """Turn a style attribute, which a strict policy forbids, into attributes and classes of colour."""
    classes = []
    colours = {ink.value: ink.name.lower() for ink in Ink}
    for part in one.attrib.pop("style", "").split(";"):
        key, _, value = (piece.strip() for piece in part.partition(":"))
        if key in ("fill", "stroke") and value in colours:
            classes.append(f"{key[0]}-{colours[value]}")
        elif key == "font":
            found = _SIZE.search(value)
            assert found is not None, value
            one.set("font-size", found[1])
            if weight := _WEIGHT.search(value):
                one.set("font-weight", weight[1])
        elif key in ("stroke-linejoin", "stroke-linecap", "font-family"):
            if key == "stroke-linecap":
                one.set(key, value)
        elif key:
            one.set(key, value)
    if classes:
        one.set("class", " ".join(classes))
