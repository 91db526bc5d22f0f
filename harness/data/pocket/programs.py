"""pocket_humaneval: a signature and a docstring, the body to be written, in the shape of HumanEval.

Owns the function templates and their tests. Does not execute anything (see `harness.evaluate.sandbox`).
Invariant: the expected values in a test come from a plain Python callable here, never from the text of
the canonical solution, so a wrong template fails its own test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.data.pocket.world import Dice, Exercise

SUBTASKS = ("number", "steps", "list", "each", "pair")
FUNCTIONS = ("f", "g", "solve", "task", "work", "step", "calc", "make", "get", "find")
ARGUMENTS = ("x", "n", "v", "y")


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """One kind of function: `{x}` is the argument, `{k}` and `{m}` are numbers."""

    doc: str
    body: str
    apply: Callable[..., Any]


def _t(doc: str, body: str, apply: Callable[..., Any]) -> Template:
    return Template(doc=doc, body=body, apply=apply)


TEMPLATES: dict[str, tuple[Template, ...]] = {
    "number": (
        _t("{x} plus {k}", "{x} + {k}", lambda k, m, x: x + k),
        _t("{x} minus {k}", "{x} - {k}", lambda k, m, x: x - k),
        _t("{x} times {k}", "{x} * {k}", lambda k, m, x: x * k),
        _t("True if {x} is more than {k}", "{x} > {k}", lambda k, m, x: x > k),
        _t("True if {x} is less than {k}", "{x} < {k}", lambda k, m, x: x < k),
        _t("True if {x} is equal to {k}", "{x} == {k}", lambda k, m, x: x == k),
    ),
    "steps": (
        _t("{x} plus {k}, then times {m}", "({x} + {k}) * {m}", lambda k, m, x: (x + k) * m),
        _t("{x} times {k}, then plus {m}", "{x} * {k} + {m}", lambda k, m, x: x * k + m),
        _t("{x} minus {k}, then times {m}", "({x} - {k}) * {m}", lambda k, m, x: (x - k) * m),
        _t(
            "{x} plus {k}, then times {m}, then minus {k}",
            "({x} + {k}) * {m} - {k}",
            lambda k, m, x: (x + k) * m - k,
        ),
        _t(
            "{x} minus {m}, then times {k}, then plus {m}",
            "({x} - {m}) * {k} + {m}",
            lambda k, m, x: (x - m) * k + m,
        ),
        _t("{x} times {k}, then minus {m}", "{x} * {k} - {m}", lambda k, m, x: x * k - m),
    ),
    "list": (
        _t("the first item of {x}, plus {k}", "{x}[0] + {k}", lambda k, m, x: x[0] + k),
        _t("the last item of {x}, plus {k}", "{x}[-1] + {k}", lambda k, m, x: x[-1] + k),
        _t("the length of {x}, minus {k}", "len({x}) - {k}", lambda k, m, x: len(x) - k),
        _t("the sum of {x}, times {k}", "sum({x}) * {k}", lambda k, m, x: sum(x) * k),
        _t("the largest item of {x}, plus {k}", "max({x}) + {k}", lambda k, m, x: max(x) + k),
        _t("the smallest item of {x}, times {k}", "min({x}) * {k}", lambda k, m, x: min(x) * k),
    ),
    "each": (
        _t("each item of {x} plus {k}", "[i + {k} for i in {x}]", lambda k, m, x: [i + k for i in x]),
        _t("each item of {x} times {k}", "[i * {k} for i in {x}]", lambda k, m, x: [i * k for i in x]),
        _t(
            "the items of {x} more than {k}",
            "[i for i in {x} if i > {k}]",
            lambda k, m, x: [i for i in x if i > k],
        ),
        _t(
            "the items of {x} less than {k}",
            "[i for i in {x} if i < {k}]",
            lambda k, m, x: [i for i in x if i < k],
        ),
    ),
    "pair": (
        _t("a plus b, plus {k}", "a + b + {k}", lambda k, m, a, b: a + b + k),
        _t("a minus b, times {k}", "(a - b) * {k}", lambda k, m, a, b: (a - b) * k),
        _t("the larger of a and b, plus {k}", "max(a, b) + {k}", lambda k, m, a, b: max(a, b) + k),
        _t("the smaller of a and b, minus {k}", "min(a, b) - {k}", lambda k, m, a, b: min(a, b) - k),
    ),
}


def header(subtask: str) -> str:
    """Return the line before the few-shots; this family has none."""
    del subtask
    return ""


def draw(dice: Dice, subtask: str) -> Exercise:
    """Draw one function to write."""
    template = dice.pick(TEMPLATES[subtask])
    name, x = dice.pick(FUNCTIONS), dice.pick(ARGUMENTS)
    k, m = dice.number(1, 20), dice.number(2, 12)
    arguments = "a, b" if subtask == "pair" else x
    says = template.doc.format(x=x, k=k, m=m)
    body = template.body.format(x=x, k=k, m=m)
    # The newline belongs to the completion: in byte-level BPE "\n    " is one piece, and a prompt that ends
    # inside it would be followed by tokens that no training text has there.
    prompt = f'def {name}({arguments}):\n    """Return {says}."""'
    solution = f"\n    return {body}\n"
    ask = dice.pick(
        (
            f"Write a Python function {name}({arguments}) that returns {says}.",
            f"I need some code, please. The function {name}({arguments}) should return {says}.",
        )
    )
    return Exercise(
        subtask=subtask,
        prompt=prompt,
        target=solution,
        ask=ask,
        reply=f"def {name}({arguments}):{solution}".rstrip("\n"),
        columns={
            "prompt": prompt,
            "canonical_solution": solution,
            "test": _test(dice, subtask, template, k, m),
            "entry_point": name,
            "subtask": subtask,
        },
    )


def _test(dice: Dice, subtask: str, template: Template, k: int, m: int) -> str:
    lines = ["def check(candidate):"]
    for case in range(4):
        # The number itself is always one of the cases: it tells > from >= and == from anything.
        first = k if case == 0 else dice.number(-20, 20)
        if subtask in ("list", "each"):
            values: tuple[Any, ...] = ([first, *(dice.number(-20, 20) for _ in range(4))],)
        elif subtask == "pair":
            values = (first, dice.number(-20, 20))
        else:
            values = (first,)
        expected = template.apply(k, m, *values)
        lines.append(f"    assert candidate({', '.join(map(repr, values))}) == {expected!r}")
    return "\n".join(lines) + "\n"
