"""The profile `strict` for HumanEval-shaped tasks: the program that an answer means, whatever it is wrapped in.

Owns the way from (prompt, answer) to a program. Does not execute (see `harness.evaluate.programs`) and repairs no
program: white space that the way to the model has lost is put back, and text that is no part of the program is left
out. Invariant: the empty program stands for "no program was found"; it never passes.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.evaluate import programs as execution

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_CODE = re.compile(r"(?:import|from|def|class|async|@)\b|@|[A-Za-z_]\w*\s*(?::[^=\n]+)?=")
# What may follow the function. A call, a print, an assertion or a loop after it is a demonstration, and a wrong
# assertion of the model's own must not fail a right function (EvalPlus, arXiv 2305.01210, leaves these out as well).
_DEFINING = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Assign, ast.AnnAssign, ast.AugAssign),
)
_IDLE = (ast.Constant, ast.Name, ast.Attribute, ast.Tuple)


def programs(resps: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return the program of every answer and have all of them executed; a filter in lm-eval's sense."""
    pairs = list(zip(resps, docs, strict=True))
    found = [[program(doc["prompt"], text, doc["entry_point"]) for text in texts] for texts, doc in pairs]
    # The programs are whole: nothing of the prompt is to be put before them.
    return execution.build_predictions(found, [{**doc, "prompt": ""} for _, doc in pairs])


def unextracted(references: Sequence[str], predictions: Sequence[Sequence[str]], **options: Any) -> float:
    """Return the share of answers in which no program was found."""
    every = [program for own in predictions for program in own]
    return sum(not program for program in every) / len(every)


def program(prompt: str, text: str, entry_point: str) -> str:
    """Return prompt and answer as one program that defines the function, or "" where the answer holds none.

    Tried in this order, and the first that compiles and gives the function a body is taken: the answer as the rest of
    the prompt, up to a code fence; code fences, as whole functions and as bodies; the answer from its first line of
    code on, as a whole function. A body that lost its indentation gets it back: of the first line (#3126 of lm-eval:
    stripped answers), or of all lines.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for source, certain in _candidates(prompt, text, entry_point):
        found = _cut(source, entry_point, certain=certain)
        if found:
            return found
    return ""


def _candidates(prompt: str, text: str, name: str) -> Iterator[tuple[str, bool]]:
    """Yield (source that may be the program, whether its indentation is the answer's own), best first."""
    begins = _definition(name).search(prompt)
    head = prompt[: begins.start()] if begins else ""
    first, *blocks = _FENCE.split(text)
    # Before the first fence: the rest of the prompt, unless it introduces the fence or says the function again.
    rest = first if not _definition(name).search(first) else ""
    yield from _continued(prompt, rest)
    for block in blocks:
        if _definition(name).search(block):
            yield head + _at_margin(block).strip("\n") + "\n", True
    for block in blocks:
        yield from _continued(prompt, block)
        yield from _indented(prompt, block)
    yield from _repeated(prompt, first, head, name)
    yield from _indented(prompt, rest)


def _definition(name: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*(?:async )?def {re.escape(name)}\b", re.MULTILINE)


def _at_margin(text: str) -> str:
    """Return code without an indentation of all its lines (a list item's); untouched where it has none, since dedent
    empties the lines of spaces inside a docstring."""
    return text if re.match(r"\n*\S", text) else textwrap.dedent(text)


def _repeated(prompt: str, text: str, head: str, name: str) -> Iterator[tuple[str, bool]]:
    """Yield sources for an answer without fences that defines the function itself."""
    defined = _definition(name).search(text)
    if not defined:
        return
    before = text[: defined.start()]
    if re.match(r"\n*[ \t]+\S", before):  # a body, and then the function once more: the body is the answer
        yield from _continued(prompt, before)
    lines = before.splitlines(keepends=True)
    starts = [place for place, line in enumerate(lines) if _CODE.match(line)]
    for start in [*starts, len(lines)]:  # imports and helpers before it, but no prose
        yield head + "".join(lines[start:]) + _at_margin(text[defined.start() :]), True


def _continued(prompt: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield prompt and answer as one, and with a new line between them where the prompt lost its own."""
    if text.strip():
        yield prompt + text.rstrip() + "\n", True
        if not prompt.endswith("\n"):
            yield prompt + "\n" + text.strip("\n").rstrip() + "\n", True


def _indented(prompt: str, text: str) -> Iterator[tuple[str, bool]]:
    """Yield prompt and answer with the indentation that its first line lost, or all of its lines."""
    if not text.strip():
        return
    opened = prompt if prompt.endswith("\n") else prompt + "\n"
    body = text.strip("\n").rstrip() + "\n"
    first, _, rest = body.partition("\n")
    yield opened + _indent(prompt) + first.lstrip() + "\n" + rest, False
    yield opened + textwrap.indent(textwrap.dedent(body), _indent(prompt)), False


def _indent(prompt: str) -> str:
    """Return the indentation of the prompt's last function: that of the line after its signature, its docstring."""
    last = max(prompt.rfind("\ndef "), 0)
    found = re.search(r"^([ \t]+)\S", prompt[last:], re.MULTILINE)
    return found[1] if found else "    "


def _cut(source: str, name: str, *, certain: bool) -> str:
    """Return the source up to where it stops being Python, without demonstrations; "" where the function has no body.

    Only lines at the left margin end the program: a function is kept whole or not at all.
    """
    lines = source.splitlines(keepends=True)
    ends = [place for place, line in enumerate(lines) if place and not line[0].isspace()]
    end: int | None = len(lines)
    while end is not None:
        tree, wrong = _parsed("".join(lines[:end]))
        if tree is not None:
            whole = _has_body(tree, name, certain=certain)
            return _without_demonstrations(tree, lines[:end], name) if whole else ""
        below = end if wrong is None else min(end, wrong)
        end = max((place for place in ends if place < below), default=None)
    return ""


def _parsed(source: str) -> tuple[ast.Module | None, int | None]:
    """Return the tree of a source that compiles, or the line of its first error ("return" outside of a function parses
    and does not compile)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "<answer>", "exec", dont_inherit=True)
            return ast.parse(source), None
        except SyntaxError as error:
            return None, error.lineno
        except (ValueError, RecursionError, MemoryError):  # null bytes; nested too deeply
            return None, None


def _has_body(tree: ast.Module, name: str, *, certain: bool) -> bool:
    """Whether the function does more than say what it is for: a docstring is the prompt's, and a bare word is prose.

    Where the indentation was put there by us, it must give something back: a demonstration or another function would
    be taken for a body otherwise.
    """
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            if certain:
                return not all(_idle(line) for line in node.body)
            return _gives_back(node.body)
    return False


def _idle(node: ast.stmt) -> bool:
    """Whether a statement may be the prompt's (a docstring, the import of HumanEval/115 before it), or a bare word."""
    return isinstance(node, (ast.Import, ast.ImportFrom)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, _IDLE)
    )


def _gives_back(body: Sequence[ast.AST]) -> bool:
    """Whether there is a return or yield among these nodes, functions inside them aside."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return False


def _without_demonstrations(tree: ast.Module, lines: Sequence[str], name: str) -> str:
    """Return the lines without what follows the function and defines nothing, or defines the function again."""
    kept: set[int] = set()
    left_out: set[int] = set()
    defined = False
    for node in tree.body:
        own = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        span = range(first, (node.end_lineno or node.lineno) + 1)
        wanted = not defined or (isinstance(node, _DEFINING) and not own)
        (kept if wanted else left_out).update(span)
        defined = defined or own
    dropped = left_out - kept
    return "".join(line for number, line in enumerate(lines, 1) if number not in dropped)
