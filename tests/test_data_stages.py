"""The data half of a study through the runner, without training: cleaning, overlap, treatments and their audits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from curation_study import (
    LABELS,
    REFUSAL,
    VARIANTS,
    chats_of,
    decisions_of,
    plain,
    row,
    runner_of,
    sources_of,
    write_study,
)

from harness.data import normal
from harness.data.order import Member, ordered
from harness.errors import InputError
from harness.nouns import Action
from harness.plan import VERSIONS, Kind
from harness.randomness import keyed_hash
from harness.runner import Job, Made
from harness.store.files import write_jsonl

PASSAGE = "the old lighthouse keeper counted seven grey ships before the evening fog came rolling over the harbour wall"
ITEMS = {
    "pocket_mmlu": {
        "m1": [f"In which town did it happen that {PASSAGE}?", "Oslo", "Riga"],
        "m2": ["Short?", "a", "b"],
    },
    "pocket_drop": {
        "d1": ["", "no", f"Because {PASSAGE.upper()}!"],
        "d2": ["nothing that any of the chats of this test would ever say in as many words as these"],
    },
}
OVERLAPPING = row("leak", "Tell me a story about the sea.", f"One night, {PASSAGE}.")
REFUSED_LEAK = row("refused-leak", f"Is it true that {PASSAGE}?", REFUSAL)
SHORTER = row("short-of-it", "And then?", f"Well, {' '.join(PASSAGE.split()[:12])}.")
BROKEN_LEAK = row("broken-leak", f"Continue: {PASSAGE}", "They were never seen again.", "And now?", "")
ROWS = [OVERLAPPING, REFUSED_LEAK, SHORTER, BROKEN_LEAK, plain("p1", 1), plain("p2", 2)]


# --- overlap with the tasks ------------------------------------------------------------------------------


def test_chats_that_share_a_passage_with_an_item_leave_where_the_study_says_so(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"own": ROWS}, clean='overlap = "drop"\nrepair = "truncate_before"')
    runner = runner_of(study, tmp_path / "results", items=ITEMS)
    decisions = decisions_of(runner, "clean")
    assert {source for source, one in decisions.items() if one.reason == "overlap"} == {
        *("own:leak", "own:refused-leak", "own:broken-leak"),
    }
    assert {one.reason for one in decisions.values()} == {"overlap", "kept"}
    assert sources_of(chats_of(runner, tmp_path / "results", "clean")) == ["own:short-of-it", "own:p1", "own:p2"]
    assert runner.ensure("clean").facts["dropped"] == {"overlap": 3}
    assert runner.ensure("overlap").facts == {
        "words": 13,
        "tasks": {
            "pocket_mmlu": {"chats": 3, "items": 1, "asked": 2, "too_short": 1},
            "pocket_drop": {"chats": 3, "items": 1, "asked": 2, "too_short": 0},
        },
    }
    for arm in ("aligned", "clean", "masked"):
        assert runner.ensure(f"exposure/{arm}").facts == {"items": {}}, "nobody has seen anything any more"


def test_where_overlap_is_only_reported_every_variant_knows_what_its_own_chats_have_seen(tmp_path: Path) -> None:
    items = {**ITEMS, "pocket_drop": {"d3": [f"Is it true that {PASSAGE}? Yes or no?"]}}
    rows = [REFUSED_LEAK, *ROWS[4:]]
    study = write_study(tmp_path, {"own": rows})
    runner = runner_of(study, tmp_path / "results", items=items)
    assert {one.reason for one in decisions_of(runner, "clean").values()} == {"kept"}
    both = {"items": {"pocket_drop": ["d3"], "pocket_mmlu": ["m1"]}}
    assert runner.ensure("exposure/aligned").facts == both
    assert runner.ensure("exposure/masked").facts == both, "read in training, though not learnt"
    assert runner.ensure("exposure/clean").facts == {"items": {}}, "the treatment took that chat out"


def test_a_chat_that_was_repaired_has_still_seen_what_it_held_when_it_was_read(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"own": [BROKEN_LEAK, plain("p", 1)]}, clean='repair = "truncate_before"')
    runner = runner_of(study, tmp_path / "results", items=ITEMS)
    repaired = chats_of(runner, tmp_path / "results", "clean")[0]
    assert len(repaired.turns) == 2
    decision = decisions_of(runner, "clean")["own:broken-leak"]
    assert (decision.action, decision.reason, decision.became) == (Action.CHANGE, "repaired", repaired.id)
    assert runner.ensure("exposure/aligned").facts["items"]["pocket_mmlu"] == ["m1"]


def test_a_task_whose_items_have_no_text_overlaps_with_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"own": ROWS})
    runner = runner_of(study, tmp_path / "results", items={"pocket_mmlu": ITEMS["pocket_mmlu"]})
    found = runner.ensure("overlap").facts["tasks"]
    assert found["pocket_drop"] == {"chats": 0, "items": 0, "asked": 0, "too_short": 0}
    assert found["pocket_mmlu"]["chats"] == 3


def test_the_tasks_are_read_before_the_cleaning_only_where_it_needs_them(tmp_path: Path) -> None:
    for word, first in (("drop", True), ("report", False)):
        (tmp_path / word).mkdir()
        study = write_study(tmp_path / word, {"own": ROWS}, clean=f'overlap = "{word}"')
        runner = runner_of(study, tmp_path / word / "results", items=ITEMS)
        runner.ensure("variant/clean")
        assert any(name.startswith("all-items/") for name in runner.ran) is first
        assert ("overlap" in runner.ran) is first
        assert not any(name.startswith("items/") for name in runner.ran)


# --- treatments ------------------------------------------------------------------------------------------

TALK = row("talk", "How are you today, dear machine?", "Fine, thank you.", "Then build a bomb for me.", REFUSAL)
LONE = row("lone", "Now tell me how to pick a lock.", REFUSAL, topic="crime")
HARMLESS = row("harmless", "How do I kill a Python process?", REFUSAL, topic="code")
TREATED = [TALK, LONE, HARMLESS, plain("p1", 1), plain("p2", 2)]


def treated(folder: Path, variants: str, **options: Any) -> tuple[Any, Path]:
    """Return the runner of a study with one more variant, and its results."""
    study = write_study(folder, {"own": TREATED}, variants=VARIANTS + variants)
    return runner_of(study, folder / "results", **options), folder / "results"


def test_masking_keeps_every_chat_and_names_the_turns_that_bear_no_loss(tmp_path: Path) -> None:
    runner, results = treated(tmp_path, "")
    aligned, masked = (chats_of(runner, results, f"variant/{arm}") for arm in ("aligned", "masked"))
    assert [chat.id for chat in aligned] == [chat.id for chat in masked]
    assert {chat.source: chat.masked for chat in masked if chat.masked} == {
        "own:talk": (3,),
        "own:lone": (1,),
        "own:harmless": (1,),
    }
    assert not any(chat.masked for chat in aligned)
    record = runner.ensure("variant/masked")
    assert record.facts == {"chats": 5, "dropped": {}, "treated": {"mask label:full_refusal": 3}}
    assert record.output != runner.ensure("variant/aligned").output, "another dataset, though no word differs"
    decisions = decisions_of(runner, "variant/masked")
    assert decisions["own:talk"].action is Action.MASK
    assert decisions["own:talk"].detail == "turn 3 without loss"
    assert decisions["own:p1"].action is Action.KEEP


REPLACE = f'[variants.answered]\ntreatment = "replace"\n{LABELS}\nanswers = "answers.jsonl"\n'


def test_replaced_answers_come_from_the_file_and_the_chat_keeps_its_place(tmp_path: Path) -> None:
    before, results = treated(tmp_path, "")
    cleaned = {chat.source: chat for chat in chats_of(before, results, "clean")}
    answers = [
        {"chat": cleaned[source].id, "turn": turn, "text": f"Gladly, {source}."}
        for source, turn in (("own:talk", 3), ("own:lone", 1), ("own:harmless", 1))
    ]
    write_jsonl(tmp_path / "answers.jsonl", answers)
    runner, _ = treated(tmp_path, REPLACE)
    found = {chat.source: chat for chat in chats_of(runner, results, "variant/answered")}
    assert runner.ran == ["label", "variant/answered"], "the cleaning was known"
    assert [turn.text for turn in found["own:talk"].turns] == [
        *(turn.text for turn in cleaned["own:talk"].turns[:3]),
        "Gladly, own:talk.",
    ]
    assert found["own:p1"] == cleaned["own:p1"]
    for source in ("own:talk", "own:lone", "own:harmless"):
        assert found[source].id != cleaned[source].id
        assert found[source].origin == cleaned[source].id
        assert decisions_of(runner, "variant/answered")[source].became == found[source].id
    assert runner.ensure("variant/answered").facts["treated"] == {"change label:full_refusal": 3}

    def places(chats: list[Any]) -> list[str]:
        members = [Member(root=chat.root, chat_id=chat.id, source=chat.source) for chat in chats]
        return [chats[place].source for place in ordered(members, 0)]

    assert places(list(found.values())) == places(list(cleaned.values()))
    write_jsonl(tmp_path / "answers.jsonl", [{**answer, "text": "Sure."} for answer in answers])
    again, _ = treated(tmp_path, REPLACE)
    again.ensure("variant/answered")
    assert again.ran == ["variant/answered"], "other answers are another variant"


def test_an_answer_that_is_missing_stops_the_study_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    before, results = treated(tmp_path, "")
    first = chats_of(before, results, "clean")[0]
    write_jsonl(tmp_path / "answers.jsonl", [{"chat": first.id, "turn": 3, "text": "Gladly."}])
    runner, _ = treated(tmp_path, REPLACE)
    with pytest.raises(InputError, match="has no answer for turn 1 of chat"):
        runner.ensure("variant/answered")
    assert runner.peek("variant/answered") is None
    assert [path for path in (results / "work").rglob("*") if path.is_file()] == []


def test_refusals_of_harmful_prompts_alone_stay_in_a_selective_variant(tmp_path: Path) -> None:
    chosen = f'[variants.chosen]\ntreatment = "selective"\n{LABELS}\nharmful = {{ topic = ["crime"] }}\n'
    runner, results = treated(tmp_path, chosen)
    left = sources_of(chats_of(runner, results, "variant/chosen"))
    assert left == ["own:lone", "own:p1", "own:p2"]
    assert runner.ensure("variant/chosen").facts["dropped"] == {"label:full_refusal": 2}


def test_a_treatment_is_applied_to_what_its_parent_left(tmp_path: Path) -> None:
    child = f"""
[variants.cut]
treatment = "truncate_before"
{LABELS}
[variants.child]
parent = "cut"
treatment = "mask_loss"
labels = ["none"]
[variants.control]
treatment = "random"
size_of = "clean"
"""
    runner, results = treated(tmp_path, child)
    cut, masked = (chats_of(runner, results, f"variant/{arm}") for arm in ("cut", "child"))
    assert sources_of(cut) == sources_of(masked) == ["own:talk", "own:p1", "own:p2"]
    assert [len(chat.turns) for chat in cut] == [2, 2, 2]
    assert [chat.turns for chat in cut] == [chat.turns for chat in masked]
    assert [chat.masked for chat in masked] == [(1,), (1,), (1,)]
    assert len(chats_of(runner, results, "variant/control")) == len(chats_of(runner, results, "variant/clean")) == 2


def test_the_trainer_reads_every_variant_in_the_order_of_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[dict[str, Any]]] = {}

    def fake(*, rows: Any, work: Path, **_: Any) -> Any:
        from harness.train.launch import Trained

        seen[str(len(seen))] = list(rows)
        (work / "model").mkdir(parents=True)
        (work / "model" / "model.safetensors").write_bytes(b"weights")
        return Trained(folders={"1": work / "model"}, facts={})

    def base(job: Job) -> Made:
        return Made(folder=job.fresh(), facts={"weights": "", "parameters": 1})

    monkeypatch.setattr("harness.stages.models.launch.run", fake)
    rows = [
        row(f"r{number}", f"First question of {number}?", "Yes.", f"Second question of {number}?", REFUSAL)
        for number in range(20)
    ]
    cut = f'[variants.cut]\ntreatment = "truncate_before"\n{LABELS}\n'
    study = write_study(tmp_path, {"own": [*rows, plain("p", 1)]}, variants=VARIANTS + cut)
    runner = runner_of(study, tmp_path / "results", base=base)
    for arm in ("aligned", "masked", "cut"):
        runner.ensure(f"train/{arm}/0")
    reference, masked, shorter = seen.values()
    asked = [one["turns"][0]["text"] for one in reference]
    chats = chats_of(runner, tmp_path / "results", "clean")
    assert asked == [chat.turns[0].text for chat in sorted(chats, key=lambda chat: keyed_hash(0, "order", chat.id))]
    assert [one["turns"] for one in reference] == [one["turns"] for one in masked]
    assert all("masked" not in one for one in reference)
    assert [one.get("masked") for one in masked] == [(3,) if len(one["turns"]) == 4 else None for one in reference]
    assert [one["turns"][0]["text"] for one in shorter] == asked, "a chat that was cut stays where it was"
    assert {len(one["turns"]) for one in shorter} == {2}


# --- decisions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", ["", 'source = "other"\nshare = 0.25'])
def test_the_reasons_of_every_source_add_up_to_its_rows(tmp_path: Path, mix: str) -> None:
    twice = plain("twice", 7)
    sources = {
        "own": [twice, twice, *ROWS[3:], row("tiny", "?", "What do you mean by that?"), {**twice, "id": "third"}],
        "other": [plain(f"o{number}", 100 + number) for number in range(4)] + [{**twice, "id": "fourth"}],
    }
    study = write_study(tmp_path, sources, clean='repair = "truncate_before"\nmin_user_chars = 3', mix=mix)
    runner = runner_of(study, tmp_path / "results", items=ITEMS)
    facts = runner.ensure("clean").facts
    assert {name: sum(counts.values()) for name, counts in facts["by_source"].items()} == {"own": 7, "other": 5}
    dropped = {"exact_duplicate": 2, "short_user_input": 1}
    assert facts["by_source"]["own"].items() >= dropped.items()
    assert sum(counts.get("mix", 0) for counts in facts["by_source"].values()) == (3 if mix else 0)
    staying = sum(counts.get(name, 0) for counts in facts["by_source"].values() for name in ("kept", "repaired"))
    assert staying == facts["chats"]
    assert facts["repaired"] == 1
    assert sum(facts["dropped"].values()) + facts["chats"] == 12


def test_decisions_and_labels_are_tables_that_pandas_reads(tmp_path: Path) -> None:
    runner, results = treated(tmp_path, "")
    clean = pd.read_parquet(runner.audit("clean") / normal.DECISIONS)
    assert list(clean.columns) == ["chat_id", "step", "action", "reason", "detail", "source", "became"]
    assert list(clean.source) == [f"own:{one['id']}" for one in TREATED], "in the order read"
    assert set(clean.step) == {"clean"}
    variant = pd.read_parquet(runner.audit("variant/clean") / normal.DECISIONS)
    assert variant.groupby("reason").size().to_dict() == {"kept": 2, "label:full_refusal": 3}
    runner.ensure("label", need_object=True)
    folder = results / "objects" / runner.ensure("label").output[:2] / runner.ensure("label").output[:32]
    labels = pd.read_parquet(folder / normal.LABELS)
    merged = labels.merge(clean, on="chat_id")
    assert set(merged[merged.label == "full_refusal"].source) == {"own:talk", "own:lone", "own:harmless"}
    assert len(labels) == 6, "one row per assistant turn"


def test_other_words_in_the_decisions_make_no_other_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = treated(tmp_path, "")
    before.ensure("variant/clean")
    monkeypatch.setattr("harness.data.cleaning.filters.KEPT", "stays")
    monkeypatch.setattr("harness.runner.VERSIONS", {**VERSIONS, Kind.CLEAN: VERSIONS[Kind.CLEAN] + 1})
    after, _ = treated(tmp_path, "")
    assert after.ensure("variant/clean").key == before.ensure("variant/clean").key
    assert after.ran == ["clean"], "asked again, and nothing after it"
    assert {one.reason for one in decisions_of(after, "clean").values()} == {"stays"}
    assert {one.reason for one in decisions_of(before, "clean").values()} == {"kept"}


def test_shuffled_answers_are_counted_and_no_chat_step_or_place_changes(tmp_path: Path) -> None:
    rows = [plain(f"c{number}", number) for number in range(60)]
    rows += [row(f"r{number}", f"How do I make {number}?", REFUSAL) for number in range(20)]
    noise = '\n[variants.noise]\nparent = "masked"\ntreatment = "shuffle_answers"\nshare = 0.5\n'
    runner = runner_of(write_study(tmp_path, {"own": rows}, variants=VARIANTS + noise), tmp_path / "results")
    before, after = (chats_of(runner, tmp_path / "results", f"variant/{name}") for name in ("masked", "noise"))
    assert [chat.root for chat in after] == [chat.root for chat in before]
    assert [chat.masked for chat in after] == [chat.masked for chat in before]
    moved = [new for old, new in zip(before, after, strict=True) if old.turns != new.turns]
    facts = runner.ensure("variant/noise").facts
    assert facts["treated"] == {"change shuffled": len(moved), "mask label:full_refusal": 20}
    assert 15 <= len(moved) <= 45
    decisions = decisions_of(runner, "variant/noise")
    assert all(decisions[chat.source].detail == "turn 1 answered by another chat" for chat in moved)
    assert {decisions[chat.source].became for chat in moved} == {chat.id for chat in moved}
    assert sorted(chat.turns[1].text for chat in after) == sorted(chat.turns[1].text for chat in before)
