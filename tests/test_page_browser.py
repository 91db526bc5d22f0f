"""The page in a real browser: hostile texts, speed at full size, keys, addresses, phones."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from chromium import drive
from page_studies import ARMS, study

from harness.report import page

MARK = "window.pwned=1"
PAYLOADS = (
    f"<script>{MARK}</script>",
    f"</script><script>{MARK}</script>",
    f"<!--<script>{MARK}</script>",
    f"--><script>{MARK}</script>",
    f"<img src=x onerror={MARK}>",
    f"<svg onload={MARK}>",
    f"<svg><script>{MARK}</script></svg>",
    f"</title><script>{MARK}</script>",
    f"</style><script>{MARK}</script>",
    f"</text></svg><script>{MARK}</script>",
    f"</textarea><script>{MARK}</script>",
    f"</pre><iframe srcdoc='<script>parent.{MARK}</script>'>",
    f'"><script>{MARK}</script>',
    f"' onmouseover='{MARK}' autofocus onfocus='{MARK}",
    f"<a href=javascript:{MARK}>x</a>",
    f"javascript:{MARK}",
    f"<details open ontoggle={MARK}>",
    f"<body onload={MARK}>",
    f"<input autofocus onfocus={MARK}>",
    f"<video><source onerror={MARK}></video>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={MARK}>",
    f"<template><script>{MARK}</script></template><object data='javascript:{MARK}'>",
    f"&lt;script&gt;{MARK}&lt;/script&gt;",
    f"{{{{7*7}}}}{{% raw %}}<script>{MARK}</script>",
    f"${{{MARK}}}`+alert(1)+`",
    f"<meta http-equiv=refresh content='0;url=javascript:{MARK}'>",
    f"<base href='javascript:{MARK}//'>",
    f"\\u003cscript\\u003e{MARK}\\u003c/script\\u003e",
)
CASES = "\n".join(PAYLOADS)
LOOK = """
  const doc = frame.contentDocument;
  const inside = (tag) => doc.querySelectorAll(tag).length;
  return {
    pwned: frame.contentWindow.pwned === undefined && window.pwned === undefined ? null : "ran",
    title: doc.title,
    text: doc.body.textContent,
    foreign: inside("img, iframe, object, embed, video, base, math, textarea, template, form input[onfocus]"),
    listening: [...doc.querySelectorAll("*")].flatMap((one) => [...one.attributes])
      .filter((own) => own.name.startsWith("on")).length,
    scripts: [...doc.scripts].map((one) => one.type),
    items: shown,
  };
"""
OPEN_ITEMS = """
  await open("#flip=all");
  await sleep(100);
  const shown = [];
  for (let at = 0; at < 6; at++) { press("j", $("#list")); shown.push($("#item").textContent); }
"""


@functools.cache
def full() -> str:
    """Return a page of MMLU's size: 14,042 items, 57 subjects, two arms, three seeds."""
    shown, texts = study((("mmlu", 14042, 57),))
    return page.as_html(shown, texts=texts)


@functools.cache
def small() -> str:
    shown, texts = study()
    return page.as_html(shown, texts=texts)


def without_policy(html: str) -> str:
    """Return the page as it would be if a browser knew no policies: what is escaped must hold alone."""
    changed, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert count == 1
    return changed


def check_harmless(told: dict[str, Any], *, title: str, tasks: int) -> None:
    assert told["pwned"] is None
    assert told["title"] == title
    assert told["foreign"] == 0
    assert told["listening"] == 0
    assert told["scripts"] == ["application/json"] * (1 + 2 * tasks) + [""]


# --- hostile texts ---------------------------------------------------------------------------------------


def test_the_driver_of_these_tests_sees_a_payload_that_runs() -> None:
    html = f"<!doctype html><title>x</title><body><p>{PAYLOADS[4]}</p>"
    told = drive(html, "await open(''); await sleep(200); const shown = [];" + LOOK)
    assert told["pwned"] == "ran"
    assert told["foreign"] == 1
    assert told["listening"] == 1


@pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "without its policy"])
def test_no_payload_in_prompts_and_answers_runs_and_each_is_shown_as_text(policy: bool) -> None:
    shown, texts = study((("mmlu", 40, 4), ("drop", 40, 1)), extra=CASES)
    html = page.as_html(shown, texts=texts)
    told = drive(html if policy else without_policy(html), OPEN_ITEMS + LOOK)
    check_harmless(told, title="pocket", tasks=2)
    assert len(PAYLOADS) >= 20
    for payload in PAYLOADS:
        assert sum(payload in text for text in told["items"]) >= 3, payload


@pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "without its policy"])
def test_no_payload_in_names_runs_and_each_is_shown_as_text(policy: bool) -> None:
    """Names of the study, its arms, tasks, subjects, metrics, labels, sources: all that the page prints."""
    for start in range(0, len(PAYLOADS), 14):
        names = PAYLOADS[start : start + 14]
        arms = (ARMS[0], *names[:4])
        shown, texts = study(((names[4].replace("/", "|"), 30, 3), (names[5].replace("/", "|"), 30, 1)), arms=arms)
        texts = {row.task: own for row, own in zip(shown.tasks, texts.values(), strict=True)}
        shown = replace(
            shown,
            arms=tuple(replace(arm, dose=0.5) for arm in shown.arms),
            study=names[6],
            title=names[7],
            filter=names[8],
            profiles=(names[9],),
            tasks=tuple(replace(row, profile=names[9]) for row in shown.tasks),
            funnel={**shown.funnel, "read": {names[10]: 1500}, "labels": {names[11]: 3}},
            training={**shown.training, "attention": [names[12]], "accelerator": [names[13]]},
        )
        html = page.as_html(shown, texts=texts)
        told = drive(html if policy else without_policy(html), OPEN_ITEMS + LOOK)
        check_harmless(told, title=names[6], tasks=2)
        for payload in names:
            expected = payload.replace("/", "|") if payload in names[4:6] else payload
            expected = expected.replace("_", " ") if payload == names[11] else expected
            assert expected in told["text"], payload


def test_data_that_is_no_text_at_all_neither_breaks_the_page_nor_is_hidden() -> None:
    odd = "nul\x00 half\ud800 line\u2028 turn\u202e esc\x1b[31m </script \u2029 \x85 end"
    shown, texts = study((("mmlu", 30, 2), ("drop", 30, 1)), extra=odd)
    told = drive(page.as_html(shown, texts=texts), OPEN_ITEMS + LOOK)
    check_harmless(told, title="pocket", tasks=2)
    assert any("nul\\u0000 half\ud800" in text or "nul\\u0000 half\ufffd" in text for text in told["items"])
    assert any("turn\\u202e esc\\u001b[31m </script" in text for text in told["items"])


# --- speed -----------------------------------------------------------------------------------------------


def test_a_page_with_14042_items_opens_filters_and_searches_in_well_under_a_second() -> None:
    html = full()
    assert len(html.encode()) < 12_000_000
    told = drive(
        html,
        """
        const times = {};
        // What this machine, with all that runs on it, needs for work of a known size: about 90 ms beside other work.
        const work = () => {
          const numbers = Array.from({ length: 200000 }, (_, place) => Math.sin(place));
          numbers.sort((a, b) => a - b);
        };
        const timed = async (name, act) => {
          const start = performance.now();
          await act();
          await painted();
          times[name] = Math.min(times[name] ?? Infinity, performance.now() - start);
        };
        let count;
        await open("");
        // The best of three: other work on the machine is not the page's.
        for (let round = 0; round < 3; round++) {
          await timed("work", work);
          await timed("open", () => open("#flip=any"));
          await timed("all", () => fill("flip", "all"));
          count = $("#count").textContent;
          await timed("down", () => fill("flip", "down"));
          await timed("first search", () => fill("search", "question mmlu_subject_number_7", "input"));
          await timed("second search", () => fill("search", "question 0123", "input"));
          await timed("next item", () => press("j", $("#list")));
          await fill("search", "", "input");
          await fill("flip", "all");
          await timed("scroll", () => { $("#list").scrollTop = 300000; });
          await sleep(100);
        }
        return { times, count, rows: $$("#list .row").length };
        """,
        seconds=300,
    )
    assert told["count"] == "14,042 of 14,042 items"
    assert told["rows"] < 60, "only rows in sight exist"
    # Measured beside other work on two cores: 180 ms to open, 70 ms to filter; a search takes the 250 ms it waits.
    limit = max(1000, 10 * told["times"].pop("work"))
    slow = {name: spent for name, spent in told["times"].items() if spent > limit}
    assert slow == {}, json.dumps(told["times"])


# --- use -------------------------------------------------------------------------------------------------


def test_filters_keys_and_the_address_agree() -> None:
    told = drive(
        small(),
        """
        await open("");
        const seen = [];
        const hash = () => frame.contentWindow.location.hash;
        const say = () => seen.push([$("#count").textContent, hash(), $("#item h3").textContent]);
        say();
        await fill("task", "0"); say();
        await fill("flip", "up"); say();
        const subject = $("#subject").options[1].value;
        await fill("subject", subject); say();
        await fill("subject", ""); await fill("flip", "any");
        press("/", frame.contentDocument.body);
        const focused = frame.contentDocument.activeElement.id;
        press("Escape", $("#search"));
        const left = frame.contentDocument.activeElement.id;
        press("ArrowDown", $("#list")); press("ArrowDown", $("#list")); press("k", $("#list")); say();
        const active = $("#list").getAttribute("aria-activedescendant");
        const selected = $$("#list [aria-selected=true]").map((one) => [one.id, active]);
        await open(hash()); say();
        return { seen, focused, left, selected };
        """,
    )
    every, task, up, subject, chosen, again = told["seen"]
    number = [int(one[0].split(" of ")[0].replace(",", "")) for one in told["seen"]]
    assert number[0] > number[1] > number[2] > number[3] > 0
    assert every[1] == ""
    assert task[1] == "#task=mmlu"
    assert up[1] == "#task=mmlu&flip=up"
    assert subject[1].startswith("#task=mmlu&flip=up&subject=subject_number_")
    assert (told["focused"], told["left"]) == ("search", "list")
    assert chosen[1].startswith("#task=mmlu&item=mmlu%3Ammlu_subject_number_")
    assert told["selected"] == [["row-1", "row-1"]]
    assert again == chosen, "an address shows the same item to somebody else"


def test_a_search_finds_texts_of_both_arms_and_seed_and_direction_are_of_that_seed() -> None:
    told = drive(
        small(),
        """
        await open("#task=drop");
        const count = () => +$("#count").textContent.split(" ")[0].replace(",", "");
        const found = { any: count() };
        await fill("search", "i think drop/00001 is", "input"); found.text = count();
        await fill("search", "no such text anywhere", "input"); found.none = [count(), $("#item").textContent];
        await fill("search", "", "input");
        for (const way of ["up", "down", "mixed"]) { await fill("flip", way); found[way] = count(); }
        await fill("flip", "any");
        await fill("seed", "1"); found.seed = count();
        const marks = $$("#list .row").map((row) => row.querySelectorAll(".marks span")[1].className);
        return { found, marks };
        """,
    )
    found = told["found"]
    assert found["text"] <= 1
    assert found["none"] == [0, "No item fits these filters."]
    assert found["up"] + found["down"] + found["mixed"] == found["any"]
    assert 0 < found["seed"] < found["any"]
    assert set(told["marks"]) <= {"up", "down"}


def test_a_phone_shows_the_page_without_scrolling_sideways() -> None:
    told = drive(
        small(),
        """
        await open("#flip=any");
        await sleep(100);
        const root = frame.contentDocument.documentElement;
        const wide = $$("main *").filter((one) => one.getBoundingClientRect().right > 391)
          .filter((one) => !one.closest("svg, thead, pre"));
        return { width: root.scrollWidth, wide: wide.map((one) => one.outerHTML.slice(0, 80)) };
        """,
        width=390,
        height=844,
    )
    assert told == {"width": 390, "wide": []}


def test_dark_and_light_follow_the_address_and_the_button_and_texts_have_contrast() -> None:
    told = drive(
        small(),
        """
        const luminance = (css) => {
          const parts = css.match(/[0-9.]+/g).slice(0, 3).map((one) => +one / 255);
          const [r, g, b] = parts.map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const contrast = (one, other) => {
          const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
          return (high + 0.05) / (low + 0.05);
        };
        const style = (one) => frame.contentWindow.getComputedStyle(one);
        const measure = () => {
          const paper = style(frame.contentDocument.body).backgroundColor;
          const found = {};
          for (const place of ["h1", ".lead", ".verdict", ".bar nav a", ".side.treated .arm", ".side.reference .arm"])
            found[place] = contrast(paper, style($(place)).color);
          for (const place of ["svg text.f-muted", "svg text.f-text"])
            found[place] = contrast(paper, style($(place)).fill);
          return { paper, found };
        };
        await open("#theme=dark"); const dark = measure();
        $("#theme").click(); const light = measure();
        return { dark, light, hash: frame.contentWindow.location.hash };
        """,
    )
    assert told["dark"]["paper"] != told["light"]["paper"]
    assert told["hash"] == "#theme=light"
    for theme in ("dark", "light"):
        weak = {name: ratio for name, ratio in told[theme]["found"].items() if ratio < 4.5}
        assert weak == {}, theme


def test_without_scripts_everything_but_the_browser_of_items_is_there() -> None:
    html = re.sub(r"<script>.*?</script>", "", small(), flags=re.DOTALL)
    told = drive(
        html,
        """
        await open("");
        const [plots, rows] = [$$("svg.plot").length, $$("#verdicts tbody tr").length];
        return { browser: $("#browser").hidden, theme: $("#theme").hidden, plots, rows };
        """,
    )
    assert told == {"browser": True, "theme": True, "plots": 4, "rows": 2}
    assert "<noscript>" in html


def test_nothing_is_fetched_and_no_rule_of_the_policy_is_broken() -> None:
    told = drive(
        small(),
        """
        frame.onload = null;
        const broken = [];
        await open("");
        const hear = (event) => broken.push(event.violatedDirective);
        frame.contentDocument.addEventListener("securitypolicyviolation", hear);
        for (const way of ["up", "all"]) await fill("flip", way);
        press("j", $("#list"));
        await sleep(100);
        const fetched = frame.contentWindow.performance.getEntriesByType("resource").map((one) => one.name);
        return { broken, fetched, row: frame.contentWindow.getComputedStyle($("#list .row:nth-of-type(3)")).top };
        """,
    )
    assert told["broken"] == []
    assert told["fetched"] == []
    assert told["row"].endswith("px")


def test_no_number_is_broken_over_lines_and_no_empty_list_takes_room() -> None:
    shown, texts = study((("mmlu", 2000, 57), ("a_task_of_a_name_that_is_very_long_indeed", 60, 1)), extra=" long" * 9)
    html = page.as_html(shown, texts=texts)
    seen = drive(
        html,
        """await open("");
        const lines = (cell) => { const range = frame.contentDocument.createRange(); const first = cell.firstChild;
          range.selectNodeContents(first); return new Set([...range.getClientRects()].map((one) => one.top)).size; };
        const numbers = $$("td.num").filter((cell) => /^[-+]?[0-9.,]+$/.test(cell.firstChild?.textContent || ""));
        const broken = numbers.filter((cell) => cell.offsetParent && lines(cell) > 1).map((cell) => cell.textContent);
        const before = $(".panes").offsetHeight;
        await fill("search", "no item says this", "input");
        return { count: numbers.length, broken, before, after: $(".panes").offsetHeight };""",
    )
    assert seen["count"] > 20 and seen["broken"] == []
    assert seen["after"] < 100 < seen["before"]
