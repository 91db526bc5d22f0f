"""The page of a study: what it says, that it is the same everywhere, and where its texts come from."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_studies import dosed, study
from test_report import incomparable, one_seed, result, task, with_gap

from harness import compare
from harness.report import page, wording
from harness.report.page import drawing, outcomes, payload, plots, shell, texts, words
from harness.report.result import Control, ControlKind, ScoreSet
from harness.store import Record, Store
from harness.store.files import write_jsonl

ROOT = Path(__file__).resolve().parent.parent


def written(shown: Any = None, given: Any = None, **more: Any) -> str:
    if shown is None:
        shown, given = study()
    return page.as_html(shown, texts=given or {}, **more)


def plain(html: str) -> str:
    """Return the words of a page without its data and scripts."""
    html = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", html, flags=re.DOTALL)
    html = re.sub(r"<[^>]+>", " ", html)
    return " ".join(html.replace("&#39;", "'").replace("&#34;", '"').split())


def data(html: str, kind: str) -> list[Any]:
    """Return the data of a page."""
    found = re.findall(rf'<script type="application/json" (?:class|id)="{kind}"[^>]*>(.*?)</script>', html, re.DOTALL)
    return [json.loads(one) for one in found]


# --- what it says ----------------------------------------------------------------------------------------


def test_the_answer_stands_on_top_and_names_tasks_and_gaps() -> None:
    shown, _ = study()
    html = written(shown)
    [heading] = re.findall(r"<h1>(.*?)</h1>", html)
    assert heading == wording.headline(shown)
    assert html.index("<h1>") < html.index("<table") < html.index("<svg")
    for row in shown.tasks:
        assert row.title in heading


def test_a_control_with_the_same_data_that_differs_is_a_warning_above_all_numbers() -> None:
    far = task(rates=(0.1, 0.9)).gap
    near = task(rates=(0.5, 0.5)).gap
    assert isinstance(far, compare.Gap) and far.called
    assert isinstance(near, compare.Gap) and not near.called
    for gap, expected in ((far, True), (near, False)):
        judgement = compare.judge({"mmlu": gap}).tasks["mmlu"]
        control = Control(
            kind=ControlKind.SAME_DATA, reference="aligned", treated="again", gap=gap, judgement=judgement
        )
        html = written(result(replace(task(), controls=(control,))))
        assert ("The same data under other seeds differ too" in plain(html)) is expected
        if expected:
            assert html.index("The same data under other seeds differ too") < html.index("<table")


def test_a_limit_and_a_diverged_training_are_warnings_and_one_seed_is_in_the_headline() -> None:
    assert "With one training seed, so of these checkpoints only" in re.findall(r"<h1>.*", written(one_seed()))[0]
    assert any("not the whole benchmark" in line for line in words.warnings(result(limit=57)))
    arms = (result().arms[0], replace(result().arms[1], diverged=(2,)), *result().arms[2:])
    assert "The training of 'aligned' diverged under seeds 2." in words.warnings(result(arms=arms))
    assert words.warnings(result()) == []


def test_the_table_has_interval_named_denominator_and_smallest_gap() -> None:
    shown, _ = study()
    text = plain(written(shown))
    assert "relative to aligned" in text
    assert "smallest gap seen with 80&nbsp;% power, points" in text
    for row in shown.tasks:
        gap = row.gap
        assert isinstance(gap, compare.Gap) and row.judgement and row.judgement.smallest and gap.relative
        assert f"{100 * gap.absolute:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]" in text
        assert f"{100 * gap.relative:+.1f} %" in text
        assert f"{100 * row.judgement.smallest:.1f}" in text


def test_arms_that_do_not_pair_say_why_in_place_of_numbers() -> None:
    html = written(result(with_gap(task(), incomparable())))
    assert "1 of 2 items were asked differently" in plain(html)
    assert "∅ incomparable" in plain(html)
    assert 'id="plot-forest"' not in html


def test_all_57_subjects_are_in_the_plot_each_with_its_gap_to_point_at() -> None:
    shown, _ = study()
    svg = plots.parts(shown.tasks[0], "parts", shown)
    for part in shown.tasks[0].parts:
        assert svg.count(f">{part.name.replace('_', ' ')} ({part.items})</text>") == 1
        assert f"<title>{part.name.replace('_', ' ')} ({part.items}): " in svg


def test_curves_show_every_seed_of_every_arm_and_leave_out_what_was_not_a_number() -> None:
    shown, _ = study()
    svg = plots.curves(shown)
    for one in shown.curves:
        assert f"<title>{one.arm}, seed {one.seed}: last loss " in svg
    steps, losses = plots.smoothed(replace(shown.curves[0], losses=(2.0, None, float("nan"), 4.0)))
    assert (steps, losses) == ([1.0, 4.0], [2.0, 4.0])
    steps, losses = plots.smoothed(replace(shown.curves[0], losses=tuple(map(float, range(4800)))))
    assert len(losses) == plots.POINTS
    assert losses[0] == 9.5
    assert steps[0] == 10.5
    nothing = replace(shown.curves[0], losses=(None, float("inf")))
    assert plots.curves(replace(shown, curves=())) == plots.curves(replace(shown, curves=(nothing,))) == ""


def test_a_dose_is_plotted_where_an_arm_has_one_between_none_and_all() -> None:
    shown, _ = study()
    assert plots.doses(dosed(shown, aligned=1.0, clean=0.0)) == ""
    between = dosed(shown, aligned=1.0, clean=0.25)
    svg = plots.doses(between)
    assert "MMLU, clean: " in svg and "MMLU, random: " not in svg, "a control has no dose"
    assert 'id="doses"' in written(between)


def test_others_can_add_a_section_and_its_plain_text_is_escaped() -> None:
    table = page.Table(header=("a", "b"), rows=[("<i>x</i>", "2")], numbers=(1,))
    section = page.Section(title="Trade-off", text=("<b>bold</b>",), plots=("<svg id='own'></svg>",), tables=(table,))
    html = written(sections=[section])
    assert "<svg id='own'></svg>" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "&lt;i&gt;x&lt;/i&gt;" in html
    assert 'href="#more-1">Trade-off' in html


class Outline(HTMLParser):
    """Ids, links and headings of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.tags.add(tag)
        self.ids += [own["id"] or ""] if "id" in own else []
        self.links += [own["href"] or ""] if "href" in own else []
        self.headings += [int(tag[1])] if re.fullmatch(r"h[1-6]", tag) else []
        assert "style" not in own, "the policy forbids styles of single elements"


def test_ids_are_unique_links_stay_inside_and_headings_do_not_skip_a_level() -> None:
    outline = Outline()
    outline.feed(written(dosed(study()[0], aligned=1.0, clean=0.25), study()[1]))
    assert len(outline.ids) == len(set(outline.ids))
    inside = [link for link in outline.links if link.startswith("#")]
    assert inside == outline.links
    assert {link[1:] for link in inside} <= set(outline.ids)
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert {"main", "nav", "header", "section", "figure", "noscript"} <= outline.tags
    assert not outline.tags & {"img", "iframe", "link", "object"}


# --- equal bytes -----------------------------------------------------------------------------------------


def test_equal_results_give_equal_bytes_also_in_another_process_under_another_sun(tmp_path: Path) -> None:
    """Own hash seed, time zone, locale and no cache of fonts."""
    html = written()
    assert html == written()
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests'); from test_page import written;"
        "print(hashlib.sha256(written().encode()).hexdigest())"
    )
    settings = {
        "PYTHONHASHSEED": "7",
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "MPLCONFIGDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(html.encode()).hexdigest()


def test_settings_of_matplotlib_outside_neither_change_a_plot_nor_are_changed() -> None:
    import matplotlib

    before = plots.funnel(study()[0])
    with matplotlib.rc_context({"font.size": 40.0, "svg.fonttype": "path", "axes.grid": True}):
        assert plots.funnel(study()[0]) == before
        assert matplotlib.rcParams["font.size"] == 40.0


# --- hostile texts, without a browser ---------------------------------------------------------------------


def test_data_in_the_page_cannot_end_its_element_and_is_read_back_as_it_was() -> None:
    texts_of = ["</script>", "<!--", "a & b", "\u2028\u2029", "\ud800", "\x00", '"', "\\", "ä"]
    text = shell.inert(texts_of)
    assert not re.search("[<>&\u2028\u2029\ud800\x00]", text)
    assert json.loads(text) == texts_of
    assert "ä" in text


def test_labels_of_plots_are_text_whatever_they_are() -> None:
    shown, _ = study((("<b>$x^2$</b>\x1b", 30, 3),))
    svg = plots.forest(shown)
    assert "&lt;b&gt;$x^2$&lt;/b&gt;\\x1b" in svg
    assert "<b>" not in svg
    assert drawing.label("x" * 50, 10) == "x" * 9 + "…"


# --- items and their texts -------------------------------------------------------------------------------


def scored(arm: str, seed: int | None, scores: dict[str, float | None], prompt: str = "p") -> ScoreSet:
    return ScoreSet(
        arm=arm,
        seed=seed,
        task="mmlu",
        items=tuple(scores),
        clusters=("c",) * len(scores),
        prompts=(prompt,) * len(scores),
        metrics={"acc": tuple(scores.values())},
    )


def test_an_item_is_flipped_where_both_arms_have_scores_that_differ() -> None:
    sets = (
        scored("aligned", 0, {"x/a": 0.0, "x/b": 1.0, "x/c": None, "x/d": 0.1 + 0.2}),
        scored("clean", 0, {"x/d": 0.3, "x/c": 1.0, "x/b": 1.0, "x/a": 1.0, "x/e": 1.0}),
    )
    [one] = outcomes.outcomes(result(task(), seeds=(0,), scores=sets))
    assert one.items == ("x/a", "x/b", "x/c", "x/d", "x/e")
    assert one.flipped() == [0]
    assert one.reference == ((0.0, 1.0, None, 0.1 + 0.2, None),)
    shown = payload.overview(one, kept=False)
    assert shown["values"] == [0.0, 0.3, 1.0, None]
    assert (shown["reference"], shown["treated"]) == (["02313"], ["22212"])


def test_the_base_is_one_checkpoint_for_all_seeds_and_other_words_are_noted() -> None:
    sets = (
        scored("base", None, {"x/a": 0.0, "x/b": 0.0}),
        *(scored("clean", seed, {"x/a": float(seed), "x/b": 0.0}, prompt="q") for seed in (0, 1)),
    )
    [one] = outcomes.outcomes(result(task(), reference="base", seeds=(0, 1), scores=sets))
    assert [run.reference for run in one.runs] == [("base", None)] * 2
    assert one.flipped() == [0]
    assert payload.overview(one, kept=True)["unlike"] == [0, 1]


def test_the_page_has_the_outcome_of_every_item_and_texts_of_flipped_ones() -> None:
    shown, given = study()
    html = written(shown, given)
    for row, one, words_of in zip(shown.tasks, data(html, "data-task"), data(html, "data-texts"), strict=True):
        assert len(one["ids"]) == row.items == len(one["reference"][2]) == len(one["treated"][0])
        flipped = {
            str(place)
            for place in range(row.items)
            if any(
                before[place] != after[place] for before, after in zip(one["reference"], one["treated"], strict=True)
            )
        }
        assert words_of["items"].keys() == flipped
    assert html.count(json.dumps(given["mmlu"].shared[0])[1:-1]) == 2, "shared beginnings are there once a task"


def test_where_objects_are_gone_the_page_shows_outcomes_and_says_that_texts_are_not_kept() -> None:
    shown, _ = study()
    html = written(shown, {})
    assert "Texts are not kept for MMLU, DROP: outcomes alone are shown." in plain(html)
    assert [one["kept"] for one in data(html, "data-task")] == [False, False]
    assert data(html, "data-texts") == []


def test_long_texts_lose_their_middle_and_say_how_much() -> None:
    assert payload.cut("x" * 100, 100) == "x" * 100
    begin, left_out, end = payload.cut("a" * 90 + "b" * 90, 60)
    assert (begin, left_out, end) == ("a" * 40, 120, "b" * 20)


def test_a_page_never_grows_beyond_its_room_and_agreed_flips_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, given = study((("mmlu", 300, 3),))
    whole = len(written(shown, given))
    monkeypatch.setattr(payload, "ROOM", 20_000)
    html = written(shown, given)
    assert len(html) < whole - 30_000
    [one], [kept] = data(html, "data-task"), data(html, "data-texts")
    assert f"Texts longer than {payload.LENGTHS[-1]} characters are cut" in plain(html)
    assert re.search(r"There is no room here for the texts of \d+ of them.", plain(html))

    def agreement(place: int) -> int:
        return abs(sum(int(a[place]) - int(b[place]) for a, b in zip(one["treated"], one["reference"], strict=True)))

    places = set(map(int, kept["items"]))
    flipped = [place for place in range(300) if agreement(place)]
    assert min(map(agreement, places)) >= max(agreement(place) for place in flipped if place not in places)


class Shelf:
    """A store with the stages of one task: two subjects, two items each, of which the first flips."""

    items = ("x/1", "x/2", "y/1", "y/2")

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.records: dict[str, Record] = {}

    def put(self, stage: str, files: dict[str, list[dict[str, Any]]]) -> None:
        folder = self.store.root / "making" / stage.replace("/", "-")
        folder.mkdir(parents=True)
        for name, rows in files.items():
            write_jsonl(folder / name, rows)
        self.records[stage] = Record(key="0" * 64, payload={}, output=self.store.objects.put(folder))

    def fill(self) -> None:
        requests = [
            {
                "item": item,
                "contexts": [f"Shots of {item[0]}.\n\nQuestion {item}\nAnswer:"],
                "continuations": [" A", " B"],
            }
            for item in self.items
        ]
        self.put("items/mmlu", {"requests.jsonl": requests})
        for arm, score in (("aligned", 0.0), ("clean", 1.0)):
            answers = [
                {"item": item, "text": "", "logprobs": [-1.0, -2.0], "finish": "", "shots": 5, "sample": 0}
                for item in self.items
            ]
            read = [{"item": item, "extracted": {"strict": arm}, "scores": {"acc": score}} for item in self.items]
            self.put(f"predict/{arm}/0/mmlu", {"answers.jsonl": answers})
            self.put(f"score/{arm}/0/mmlu", {"scores.jsonl": read})

    def outcomes(self) -> list[outcomes.Outcomes]:
        sets = (
            scored("aligned", 0, dict.fromkeys(self.items, 0.0)),
            scored("clean", 0, {item: float(item != "y/2") for item in self.items}),
        )
        return outcomes.outcomes(result(task(), seeds=(0,), scores=sets))


def test_texts_are_read_from_the_objects_of_the_records(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.fill()
    found = texts.load(shelf.outcomes(), shelf.records, shelf.store.objects)["mmlu"]
    assert found.shared == ("Shots of x.\n\n", "Shots of y.\n\n")
    assert found.asked == {
        "x/1": texts.Asked(shared=(0,), own="Question x/1\nAnswer:", choices=(" A", " B")),
        "x/2": texts.Asked(shared=(0,), own="Question x/2\nAnswer:", choices=(" A", " B")),
        "y/1": texts.Asked(shared=(1,), own="Question y/1\nAnswer:", choices=(" A", " B")),
    }, "y/2 did not flip"
    said = found.answers["clean", 0]["x/1"]
    assert (said.logprobs, said.extracted, said.samples) == ((-1.0, -2.0), {"strict": "clean"}, 1)


@pytest.mark.parametrize("stage", ["items/mmlu", "predict/clean/0/mmlu", "score/aligned/0/mmlu"])
def test_a_task_of_which_one_object_is_gone_has_no_texts(tmp_path: Path, stage: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.fill()
    folder = shelf.store.objects.get(shelf.records[stage].output)
    assert folder is not None
    folder.rename(tmp_path / "elsewhere")
    assert texts.load(shelf.outcomes(), shelf.records, shelf.store.objects) == {}
    assert texts.load(shelf.outcomes(), {}, shelf.store.objects) == {}


# --- the distribution ------------------------------------------------------------------------------------


def test_the_wheel_carries_templates_styles_and_scripts(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    folder = ROOT / "harness/report/page"
    needed = {path.name for path in folder.iterdir() if path.suffix in (".html", ".css", ".js")}
    assert {"base.html", "study.html", "style.css", "browser.css", "theme.js", "browser.js"} <= needed
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"harness/report/page/{name}" for name in needed} <= inside
