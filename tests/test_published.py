"""A published table as a case: its printed gaps, and what one seed and that many items can support."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

import pytest
from test_cli import harness, refused

from harness import compare
from harness.cli.screen import Screen
from harness.errors import InputError
from harness.report import published, published_views
from harness.report.published import Published, Support, load, supports

NAME = "poison-of-alignment"


@pytest.fixture(scope="module")
def table() -> Published:
    return load(NAME)


@pytest.fixture(scope="module")
def lines(table: Published) -> dict[str, Support]:
    return {one.task.title: one for one in supports(table)}


def changed(table: Published, *, tasks: dict[str, Any] | None = None, **top: Any) -> Published:
    """Return the table with other keys, and with other keys of every task."""
    raw = table.model_dump(mode="json") | top
    raw["tasks"] = [{**one, **(tasks or {})} for one in raw["tasks"]]
    return Published.model_validate(raw)


def printed(table: Published) -> str:
    """Return what a terminal of 80 columns shows."""
    console = Screen(file=io.StringIO(), width=80)
    for part in published_views.tables(table):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_gaps_are_those_printed_and_the_other_denominator_gives_less(lines: dict[str, Support]) -> None:
    by_reference = [round(100 * one.relative, 1) for one in lines.values()]
    by_treated = [round(100 * one.worse_by, 1) for one in lines.values()]
    assert list(lines) == ["MMLU", "BBH", "HumanEval", "DROP"]
    assert by_reference == [8.1, 4.1, 33.3, 24.3]
    assert by_treated == [7.5, 4.0, 25.0, 19.5]


def test_humaneval_is_fifteen_to_twenty_problems_and_no_p_below_one_sixteenth(lines: dict[str, Support]) -> None:
    one = lines["HumanEval"]
    assert (one.right, one.net) == ((15, 20), 5)
    assert one.best_p == 0.0625 == 2 * 0.5**5
    assert not one.told_apart
    assert one.luck == 0.0


def test_the_exact_test_is_the_binomial_one() -> None:
    def by_hand(gained: int, lost: int) -> float:
        total = gained + lost
        return min(1.0, 2 * sum(math.comb(total, k) for k in range(min(gained, lost) + 1)) / 2**total)

    for gained, lost in ((0, 0), (5, 0), (0, 5), (10, 5), (7, 7), (339, 247)):
        assert compare.flipped(gained, lost) == pytest.approx(by_hand(gained, lost))
        assert compare.flipped(gained, lost) == compare.flipped(lost, gained)


def test_the_assumed_changes_are_whole_gains_and_losses(lines: dict[str, Support]) -> None:
    for one in lines.values():
        gained, lost = (one.changed + one.net) // 2, (one.changed - one.net) // 2
        assert (gained + lost, gained - lost) == (one.changed, one.net)
        assert abs(one.changed - 0.09 * one.task.items) < 2, "rounded, and one more for whole numbers"
        assert one.best_p <= one.likely_p == compare.flipped(gained, lost)


@pytest.mark.parametrize(
    ("task", "items", "three", "five"),
    [("MMLU", 0.7, 2.2, 1.3), ("BBH", 1.0, 2.7, 1.7), ("DROP", 0.9, 2.4, 1.5), ("HumanEval", 6.6, 12.7, 8.8)],
)
def test_smallest_effects_are_those_of_the_power_table(
    lines: dict[str, Support], task: str, items: float, three: float, five: float
) -> None:
    """Simulated: 9 % of the items change, seed SD 0.4 points, 80 % power."""
    one = lines[task]
    assert round(one.smallest, 1) == items
    # The table adds quantiles of t, which is 6 % too little with 2 degrees of freedom.
    assert one.smallest_by_seeds[3] == pytest.approx(three, rel=0.08)
    assert one.smallest_by_seeds[5] == pytest.approx(five, rel=0.04)


def test_the_smallest_effect_of_seeds_has_80_percent_power_in_a_t_test_of_paired_seeds(
    lines: dict[str, Support],
) -> None:
    from scipy.stats import nct, t

    for one in lines.values():
        for seeds, effect in one.smallest_by_seeds.items():
            error = math.sqrt(0.09 * 100**2 / one.task.items + 2 * 0.4**2 / seeds)
            critical = t.ppf(0.975, seeds - 1)
            power = nct.sf(critical, seeds - 1, effect / error) + nct.cdf(-critical, seeds - 1, effect / error)
            assert power == pytest.approx(0.8, abs=0.01)


def test_luck_is_the_seed_sd_that_reaches_the_gap_in_one_study_of_twenty(lines: dict[str, Support]) -> None:
    one = lines["MMLU"]
    variance = 0.09 * 100**2 / one.task.items + 2 * one.luck**2
    assert one.gap == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


def test_both_arms_are_below_the_base_on_two_tasks(table: Published, lines: dict[str, Support]) -> None:
    assert [name for name, one in lines.items() if one.below_base] == ["HumanEval", "DROP"]
    assert any("below the base on HumanEval and DROP" in line for line in published_views.doubts(table))


def test_what_is_missing_is_said_and_not_said_where_it_is_there(table: Published) -> None:
    said = " ".join(published_views.doubts(table))
    for what in ("One training seed", "No control of equal size", "No safety measure"):
        assert what in said
    whole = changed(table, seeds=3, size_control=True, safety_measure=True, notes="", tasks={"base": 1.0})
    assert published_views.doubts(whole) == []


def test_every_task_has_a_sentence_on_checkpoints_and_one_on_the_data(table: Published) -> None:
    mmlu, bbh, humaneval, drop = published_views.verdicts(table)
    assert "These two checkpoints differ: p 5e-49" in mmlu
    assert "differ if items are independent (p 2e-4 if 9 % changed), but not if 27 subtasks" in bbh
    assert "15 -> 20 of 164 items. Even if every change went one way, p is 0.0625" in humaneval
    assert "5 seeds per arm would mostly have missed such a gap" in humaneval
    assert "3 seeds per arm would mostly have seen such a gap" in drop
    assert all("One seed says nothing of the data" in one for one in (mmlu, bbh, humaneval, drop))


def test_a_line_that_depends_on_how_many_items_changed_says_so(table: Published) -> None:
    small = {"items": 100, "base": 50.0, "reference": 40.0, "treated": 47.0, "printed": 17.5}
    one = changed(table, tasks={**small, "cluster": None, "clusters": None})
    many = changed(one, assumptions={**one.assumptions.model_dump(), "changed": 0.3})
    assert supports(many)[0].best_p == pytest.approx(2 * 0.5**7)
    assert "If 30 % of the items changed, p is 0.28: not told apart" in published_views.verdicts(many)[0]


def test_equal_scores_are_no_difference_and_no_crash(table: Published) -> None:
    same = changed(table, tasks={"reference": 50.0, "treated": 50.0, "printed": 0.0})
    one = supports(same)[0]
    assert (one.net, one.best_p, one.likely_p, one.luck) == (0, 1.0, 1.0, 0.0)
    assert "not told apart" in published_views.verdicts(same)[0]


def test_a_gap_larger_than_the_changes_that_were_assumed_takes_as_many_changes_as_it_needs(table: Published) -> None:
    wide = changed(table, tasks={"items": 100, "reference": 10.0, "treated": 100.0, "printed": 900.0, "cluster": "x"})
    one = supports(wide)[0]
    assert (one.net, one.changed) == (90, 90)
    assert one.best_p == one.likely_p
    assert one.clustered_p is not None
    assert one.clustered_p < 1e-6


def test_a_gap_downwards_is_judged_as_one_upwards(table: Published) -> None:
    up = changed(table, tasks={"reference": 40.0, "treated": 44.0, "printed": 10.0})
    down = changed(table, tasks={"reference": 44.0, "treated": 40.0, "printed": -9.1})
    for one, other in zip(supports(up), supports(down), strict=True):
        assert (one.net, one.best_p, one.likely_p, one.luck) == (
            -other.net,
            other.best_p,
            other.likely_p,
            pytest.approx(other.luck),
        )


def test_a_file_whose_printed_gap_does_not_follow_from_its_scores_is_refused(table: Published) -> None:
    with pytest.raises(ValueError, match=r"MMLU: scores give 8\.1 %, printed is 8\.2 %"):
        changed(table, tasks={"printed": 8.2})


def test_no_number_is_cut_off_at_80_columns(table: Published) -> None:
    shown = printed(table)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for number in ("8.1 %", "4.1 %", "33.3 %", "24.3 %", "7.5 %", "4.0 %", "25.0 %", "19.5 %", "0.0625"):
        assert number in shown


def test_all_views_say_the_same_numbers(table: Published) -> None:
    rows = list(csv.DictReader(io.StringIO(published_views.as_csv(table))))
    document = json.loads(published_views.as_json(table))
    for row, one, line in zip(rows, document["tasks"], supports(table), strict=True):
        assert float(row["relative_to_reference"]) == one["relative"] == line.relative
        assert float(row["best_p"]) == one["best_p"] == line.best_p
        assert float(row["smallest_gap_3_seeds"]) == one["smallest_by_seeds"]["3"] == line.smallest_by_seeds[3]
    text = published_views.as_markdown(table)
    assert "| HumanEval | 164 | 14.02 | 9.15 | 12.20 | +3.05 | 33.3 % | 25.0 % |" in text
    latex = published_views.as_latex(table)
    assert "HumanEval & 164 & 14.02 & 9.15 & 12.20 & +3.05 & 33.3~\\% & 25.0~\\% \\\\" in latex
    cells = [line for line in latex.splitlines() if not line.startswith("% ")]
    assert not re.search(r"(?<![\\{])%", "\n".join(cells)), "a bare per cent sign would comment the rest of a row out"


def test_small_p_values_are_powers_of_ten() -> None:
    shown = [published_views.p_value(value) for value in (None, 1.0, 0.0625, 0.3017, 0.00016, 4.66e-156)]
    assert shown == ["-", "1.00", "0.0625", "0.30", "2e-4", "5e-156"]


def test_an_unknown_table_names_the_known_one() -> None:
    with pytest.raises(InputError, match=r"no published table named 'poison-of-alignmant'\. Did you mean 'poison"):
        load("poison-of-alignmant")
    for name in ("../studies/pocket", "/etc/passwd", ""):
        with pytest.raises(InputError, match="no published table"):
            load(name)


def test_the_command_prints_it_and_refuses_a_run_beside_it(tmp_path: Any) -> None:
    done = harness(tmp_path, "report", "--published", NAME)
    assert (done.code, done.error) == (0, "")
    assert done.out == printed(published.load(NAME))
    refused(harness(tmp_path, "report", "pocket", "--published", NAME))
    refused(harness(tmp_path, "report", "--published", "nothing"))
    assert list(tmp_path.iterdir()) == []
