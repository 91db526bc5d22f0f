"""Any task by name: where it comes from, what its definition covers, and what is said of one that cannot be asked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lm_eval_tasks
import pytest

from harness import fingerprints
from harness.errors import InputError
from harness.evaluate import catalog, declarations, tasks
from harness.evaluate.requests import Answer
from harness.evaluate.tasks import loading

CHOICES = {"test": [{"q": f"Is {k} even?", "a": k % 2, "id": f"n{k}"} for k in range(6)]}
CHOOSING: dict[str, Any] = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{q}}",
    "doc_to_choice": ["yes", "no"],
    "doc_to_target": "a",
}
WRITING: dict[str, Any] = {"test_split": "test", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}"}


def declare(folder: Path, name: str = "parity", base: dict[str, Any] = CHOOSING, **settings: Any) -> catalog.TaskInfo:
    lm_eval_tasks.write(folder, name, CHOICES, {"task": name, **base, **settings})
    return catalog.definition(name, tasks_path=folder)


def asked(info: catalog.TaskInfo, **options: Any) -> list[tasks.Item]:
    return list(tasks.items(info, **({"data_dir": None, "limit": 0, "max_new_tokens": 0} | options)))


def scored(info: catalog.TaskInfo, items: list[tasks.Item], answers: list[list[Answer]]) -> dict[str, dict[str, float]]:
    given = {item.item: own for item, own in zip(items, answers, strict=True)}
    return tasks.scores(info, data_dir=None, rows=[item.to_row() for item in items], answers=given)


def choice(place: int) -> list[Answer]:
    return [Answer(logprobs=tuple(-1.0 - (k != place) for k in range(2)), greedy=(False, False))]


@pytest.mark.parametrize("folder", ["mmlu", "bbh", "glue", "arithmetic", "truthfulqa", "squadv2", "benchmarks"])
def test_names_are_found_as_lm_evals_own_index_finds_them(folder: str) -> None:
    from lm_eval.tasks._index import TaskIndex

    root = declarations.lm_eval_tasks() / folder
    theirs = {name: (entry.yaml_path, tuple(sorted(entry.tags))) for name, entry in TaskIndex.build([root]).items()}
    ours = declarations.scan(root)
    assert ours.keys() == theirs.keys()
    assert {name: entry.path for name, entry in ours.items()} == {name: path for name, (path, _) in theirs.items()}
    tags = {name: entry.members for name, entry in ours.items() if entry.kind is declarations.Kind.TAG}
    assert tags == {name: theirs[name][1] for name in tags}


@pytest.mark.parametrize(
    ("name", "kind", "primary", "subtasks", "source"),
    [
        ("gsm8k", "generate_until", "exact_match", 1, "hub openai/gsm8k"),
        ("mmlu_pro", "generate_until", "exact_match", 14, "hub TIGER-Lab/MMLU-Pro"),
        ("bbq", "multiple_choice", "acc", 1, "hub oskarvanderwal/bbq"),
        ("truthfulqa_mc2", "multiple_choice", "acc", 1, "hub truthfulqa/truthful_qa"),
        ("wikitext", "loglikelihood_rolling", "word_perplexity", 1, "hub EleutherAI/wikitext_document_level"),
        ("squadv2", "python class", "acc", 1, "its code"),
        ("arithmetic", "loglikelihood", "acc", 10, "hub EleutherAI/arithmetic"),
    ],
)
def test_a_task_of_lm_evals_install_is_known_by_its_name(
    name: str, kind: str, primary: str, subtasks: int, source: str
) -> None:
    info = catalog.definition(name)
    assert (info.kind, info.primary, info.subtasks, info.source) == (kind, primary, subtasks, source)
    assert (info.origin, info.of, info.profile, info.chance) == ("lm-eval", name, "lm-eval", 0.0)
    assert info.higher_is_better is (primary != "word_perplexity")


def test_the_direction_is_that_of_the_metric_that_a_task_is_compared_by(tmp_path: Path) -> None:
    metrics = [{"metric": "acc", "higher_is_better": True}, {"metric": "wrong", "higher_is_better": False}]
    first = declare(tmp_path, "first", metric_list=metrics)
    second = declare(tmp_path, "second", metric_list=metrics, metadata={"primary": "wrong"})
    assert (first.primary, first.higher_is_better) == ("acc", True)
    assert (second.primary, second.higher_is_better) == ("wrong", False)
    assert not declare(tmp_path, "third", metadata={"primary": "brier_score"}).higher_is_better


def test_an_unknown_name_suggests_one_of_lm_evals_or_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'gsm8k'"):
        catalog.definition("gsm8kk")
    declare(tmp_path, "harbour_quiz")
    with pytest.raises(InputError, match="Did you mean 'harbour_quiz'"):
        catalog.definition("harbor_quiz", tasks_path=tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        catalog.definition("harbour_quiz", tasks_path=tmp_path / "none")


def test_a_name_that_ships_cannot_be_declared_again_and_one_of_lm_evals_can(tmp_path: Path) -> None:
    assert declare(tmp_path, "gsm8k").origin == "path"
    with pytest.raises(InputError, match="'mmlu', which ships with harness"):
        declare(tmp_path, "mmlu")


def test_a_definition_under_another_profile_is_found_by_task_and_profile(tmp_path: Path) -> None:
    declare(tmp_path, "parity")
    strict = {"of": "parity", "profile": "strict", "average": "macro"}
    declare(tmp_path, "parity_strict", metadata=strict)
    info = catalog.definition("parity", "strict", tmp_path)
    assert (info.name, info.of, info.profile, info.average) == ("parity_strict", "parity", "strict", "macro")
    with pytest.raises(InputError, match=r"no profile 'loose'\. It has: lm-eval, strict"):
        catalog.definition("parity", "loose", tmp_path)
    with pytest.raises(InputError, match="no profile 'loose'"):
        catalog.definition("mmlu", "loose")


def test_the_digest_of_a_definition_covers_includes_helpers_and_members_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def f(docs):\n    return docs\n")
    (tmp_path / "base.yaml").write_text("process_docs: !function helper.f\n")
    declare(tmp_path, "parity", include="base.yaml")
    (tmp_path / "both.yaml").write_text("group: both\ntask: [parity]\n")
    info = catalog.definition("both", tasks_path=tmp_path)
    first = catalog.definition_digest(info)
    assert [path.name for path in catalog.definition_files(info)] == [
        *("both.yaml", "parity.yaml", "base.yaml", "helper.py")
    ]
    (tmp_path / "other.py").write_text("x = 1\n")
    assert catalog.definition_digest(info) == first
    for name in ("helper.py", "base.yaml", "parity.yaml", "both.yaml"):
        kept = (tmp_path / name).read_text()
        (tmp_path / name).write_text(kept + "\n# changed\n")
        assert catalog.definition_digest(catalog.definition("both", tasks_path=tmp_path)) != first, name
        (tmp_path / name).write_text(kept)
    assert catalog.definition_digest(info) == first


def test_the_identity_of_a_task_covers_the_bytes_of_its_data_files(tmp_path: Path) -> None:
    info = declare(tmp_path)
    first = fingerprints.task(info, None)
    assert fingerprints.task(info, tmp_path) == first
    [file] = info.files
    Path(file).write_text(Path(file).read_text() + '{"q": "Is 6 even?", "a": 0, "id": "n6"}\n')
    assert fingerprints.task(info, None) != first
    Path(file).unlink()
    with pytest.raises(InputError, match=r"Task 'parity' .* reads .*parity\.test\.jsonl, which is no file here"):
        fingerprints.task(info, None)
    web = declare(tmp_path, dataset_kwargs={"data_files": {"test": "https://example.org/x.jsonl"}})
    with pytest.raises(InputError, match=r"https://example\.org/x\.jsonl, whose content has no version"):
        fingerprints.task(web, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("doc_to_txt: x", "parity.yaml: lm-eval knows no key 'doc_to_txt'. Did you mean 'doc_to_text'"),
        ("fewshot_config: {smpler: first_n}", "no key 'fewshot_config.smpler'. Did you mean 'sampler'"),
        ("include: gone.yaml", "'include' names gone.yaml, and there is no"),
        ("include: parity.yaml", "goes round in a circle"),
        ("process_docs: !function gone.f", "'!function gone.f' needs the helper file .*gone.py, which is missing"),
        ("metric_list: [", "cannot be read as YAML"),
        ("metadata: {average: median}", "'metadata.average' is 'median'"),
        ("doc_to_image: picture", "shows images"),
        ("unsafe_code: true", "outside of the sandbox"),
        ("output_type: greedy", "output type 'greedy'"),
        ("metric_list: [{metric: bleu}]", "scored by bleu alone"),
    ],
)
def test_a_fault_in_a_task_file_names_the_file_and_the_key(tmp_path: Path, text: str, said: str) -> None:
    declare(tmp_path)
    with (tmp_path / "parity.yaml").open("a") as file:
        file.write(f"{text}\n")
    with pytest.raises(InputError, match=said):
        asked(catalog.definition("parity", tasks_path=tmp_path))


def test_a_member_that_no_file_declares_is_named(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("group: both\ntask: [gsm8k, nobody]\n")
    with pytest.raises(InputError, match="the group 'both' names 'nobody', and no file declares it"):
        catalog.definition("both", tasks_path=tmp_path)


def test_data_that_is_on_an_unreachable_hub_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match=r"gsm8k' \(hub openai/gsm8k\).*could not fetch.*--tasks-path DIR"):
        asked(catalog.definition("gsm8k"))


def test_data_files_and_helper_code_that_fail_are_an_error_of_the_task(tmp_path: Path) -> None:
    info = declare(tmp_path, "parity", doc_to_text="{{ q / 0 }}")
    with pytest.raises(InputError, match=r"Task 'parity' .* cannot be loaded by lm-eval"):
        asked(info)
    info = declare(tmp_path, "parity", dataset_kwargs={"data_files": {"test": str(tmp_path / "gone.jsonl")}})
    with pytest.raises(InputError, match=r"Task 'parity' .* cannot be loaded by lm-eval"):
        asked(info)


def test_a_generation_setting_that_is_not_supported_is_named_and_one_that_is_off_is_not(tmp_path: Path) -> None:
    how = {"until": ["\n", ""], "num_beams": 1, "max_new_tokens": 7}
    [item, *_] = asked(declare(tmp_path, base=WRITING, generation_kwargs=how))
    assert (item.requests[0].until, item.requests[0].max_tokens) == (("\n",), 7)
    with pytest.raises(InputError, match=r"generation_kwargs\.num_beams to 4"):
        asked(declare(tmp_path, base=WRITING, generation_kwargs={**how, "num_beams": 4}))


def test_samples_differ_by_seed_alone_and_seeds_depend_on_task_item_and_sample(tmp_path: Path) -> None:
    how = {"until": ["\n"], "do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 40}
    info = declare(tmp_path, base=WRITING, generation_kwargs=how)
    first, second = asked(info, samples=3, limit=2)
    seeds = [request.seed for item in (first, second) for request in item.requests]
    assert len(set(seeds)) == 6
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
    assert [request.sample for request in first.requests] == [0, 1, 2]
    assert {request.prompt for request in first.requests} == {first.prompt}
    one = first.requests[0]
    assert (one.temperature, one.top_p, one.top_k) == (0.7, 0.9, 40)
    assert asked(info, samples=2, limit=1)[0].requests == first.requests[:2]
    assert asked(info, samples=1, limit=1, sampling_seed=1)[0].requests[0].seed != one.seed
    assert asked(info, samples=1, limit=1, temperature=0.0)[0].requests[0].seed is None
    with pytest.raises(InputError, match="3 samples of it would all be the same"):
        asked(info, samples=3, temperature=0.0)


def test_filters_see_every_sample_of_an_item(tmp_path: Path) -> None:
    vote = [{"name": "vote", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]}]
    how = {"until": ["\n"], "do_sample": True, "temperature": 1.0}
    info = declare(tmp_path, base=WRITING, generation_kwargs=how, repeats=3, filter_list=vote)
    items = asked(info, limit=2)
    assert [len(item.requests) for item in items] == [3, 3]
    given = [[Answer(text=text) for text in answers] for answers in (["1", "0", "0"], ["0", "0", "1"])]
    found = scored(info, items, given)
    assert [found[item.item]["exact_match"] for item in items] == [1.0, 0.0]


def test_a_metric_of_tuples_is_kept_in_parts_and_averaged_by_lm_evals_own_function(tmp_path: Path) -> None:
    info = declare(tmp_path, metric_list=[{"metric": "acc"}, {"metric": "f1"}, {"metric": "brier_score"}])
    items = asked(info)
    found = scored(info, items, [choice(place) for place in (0, 1, 1, 1, 0, 0)])
    gold = [found[item.item]["f1.0"] for item in items]
    assert gold == [0.0, 1.0] * 3
    assert [found[item.item]["f1.1"] for item in items] == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    whole = tasks.aggregate(info, [item.to_row() for item in items], found)
    assert whole.keys() == {"acc", "f1", "brier_score"}
    assert whole["acc"] == whole["f1"] == pytest.approx(2 / 3)
    right, wrong = (2 * (1 - p) ** 2 for p in (0.731058578, 0.268941421))
    assert whole["brier_score"] == pytest.approx((4 * right + 2 * wrong) / 6)


def test_a_micro_average_weighs_subtasks_by_their_items_and_a_macro_average_does_not(tmp_path: Path) -> None:
    declare(tmp_path, "small")
    declare(tmp_path, "large")
    files = {"test": str(tmp_path / "two.jsonl")}
    (tmp_path / "two.jsonl").write_text((tmp_path / "small.test.jsonl").read_text().splitlines(keepends=True)[0])
    declare(tmp_path, "small", dataset_kwargs={"data_files": files, "cache_dir": str(tmp_path / "cache")})
    means = {}
    for average in ("micro", "macro"):
        (tmp_path / "both.yaml").write_text(
            f"group: both\ntask: [large, small]\nmetadata: {{average: {average}}}\n", encoding="utf-8"
        )
        info = catalog.definition("both", tasks_path=tmp_path)
        items = asked(info)
        assert [item.subtask for item in items] == ["large"] * 6 + ["small"]
        found = scored(info, items, [choice(0)] * 7)
        means[average] = tasks.aggregate(info, [item.to_row() for item in items], found)["acc"]
    assert means == {"micro": pytest.approx(4 / 7), "macro": pytest.approx(0.75)}


def test_a_task_that_shuffles_by_a_global_generator_is_the_same_each_time_and_disturbs_nobody(tmp_path: Path) -> None:
    (tmp_path / "shuffling.py").write_text(
        "import random\ndef docs(rows):\n    rows = rows.to_list()\n    random.shuffle(rows)\n"
        "    import datasets\n    return datasets.Dataset.from_list(rows)\n"
    )
    (tmp_path / "base.yaml").write_text("process_docs: !function shuffling.docs\n")
    info = declare(tmp_path, include="base.yaml")
    random.seed(77)
    expected = random.Random(77).random()
    first = asked(info)
    assert random.random() == expected
    assert asked(info) == first
    assert [item.item for item in first] != [f"parity/n{k}" for k in range(6)]
    found = scored(info, first, [choice(0)] * 6)
    assert {name: own["acc"] for name, own in found.items()} == {f"parity/n{k}": float(k % 2 == 0) for k in range(6)}


def test_a_task_that_is_a_python_class_is_asked_and_scored(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from lm_eval.api.task import ConfigurableTask\n"
        "class Counting(ConfigurableTask):\n"
        "    def __init__(self, config=None):\n"
        "        super().__init__(config={k: v for k, v in config.items() if k != 'class'})\n"
        "    def doc_to_text(self, doc, doc_to_text=None):\n"
        "        return 'Say: ' + doc['q']\n"
    )
    declare(tmp_path)
    with (tmp_path / "parity.yaml").open("a") as file:
        file.write("class: !function own.Counting\n")
    info = catalog.definition("parity", tasks_path=tmp_path)
    items = asked(info)
    assert items[0].requests[0].contexts == ("Say: Is 0 even?",)
    found = scored(info, items, [choice(0)] * 6)
    assert tasks.aggregate(info, [item.to_row() for item in items], found)["acc"] == 0.5
    assert "own.py" in {path.name for path in catalog.definition_files(info)}


def test_every_leaf_of_a_group_has_the_settings_that_lm_eval_would_build_it_with(tmp_path: Path) -> None:
    """Overrides of groups, references to tasks, tags and groups, and tasks that are written into the group."""
    from lm_eval.tasks import TaskManager

    declare(tmp_path, "one", tag="odd_ones")
    declare(tmp_path, "two", tag="odd_ones")
    declare(tmp_path, "three")
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "one.test.jsonl")}}}
    (tmp_path / "inner.yaml").write_text("group: inner\ntask: [three]\ndoc_to_text: 'inner {{q}}'\n")
    inline = {"task": "four", **CHOOSING, **data, "doc_to_text": "four {{q}}"}
    (tmp_path / "all.yaml").write_text(
        f"group: all\nnum_fewshot: 0\ntask: [odd_ones, inner, {inline!r}, {{group: own, task: [{inline!r}]}}]\n"
    )
    info = catalog.definition("all", tasks_path=tmp_path)
    theirs = TaskManager(include_path=str(tmp_path), include_defaults=False).load("all")["tasks"]
    ours = {leaf.name: leaf for leaf in loading.leaves(info, None)}
    assert list(ours) == list(theirs) == ["one", "two", "three", "all::four", "all::own::four"]
    assert [name for name, _ in declarations.leaves("all", catalog.index(info))] == list(theirs)
    for name, leaf in ours.items():
        mine, other = leaf.load(), theirs[name]
        assert mine.doc_to_text(mine.task_docs[1]) == other.doc_to_text(other.task_docs[1])
        assert mine.config.num_fewshot == other.config.num_fewshot == 0
