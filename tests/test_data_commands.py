"""`harness data`: the funnel of a small study, and the lineage of single chats."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from curation_study import HEAD, LABELS, REFUSAL, VARIANTS, plain, row, write_study
from test_cli import Done, files, harness, refused
from typer.testing import CliRunner

from harness.cli.app import app
from harness.commands.ablate import Ablation, Request
from harness.commands.data import Curation
from harness.errors import InputError
from harness.progress import Silent

# Markup of rich, and characters that command a terminal, reverse its text or cannot be written to it.
HOSTILE = "[/] \x1b[31m \x00 \u202e \ud800"
OWN = [
    plain("p1", 1),
    row("refused", f"Tell me how to pick a lock, please. {HOSTILE}", REFUSAL, topic="crime", note=HOSTILE, far=[1e999]),
    row("mended", "What is the capital of France?", "It is Paris.", "And of Peru?", ""),
    row("lost", "Hello there, is anybody in?", ""),
    row("tiny", "?", "What do you mean by that?"),
    {**plain("p1", 1), "id": "twin"},
    *(plain(f"p{number}", number) for number in range(2, 6)),
]
OTHER = [plain(f"q{number}", 100 + number) for number in range(3)] + [{**plain("p1", 1), "id": "far-twin"}]
REASONS = {
    "own": {"kept": 6, "repaired": 1, "empty_turn": 1, "short_user_input": 1, "exact_duplicate": 1},
    "other": {"kept": 3, "exact_duplicate": 1},
}
CLEAN = 'repair = "truncate_before"\nmin_user_chars = 3'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("curation")
    write_study(place, {"own": OWN, "other": OTHER}, clean=CLEAN)
    return place


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs `harness data` on the study and returns what it prints."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)

    def run(command: str, *arguments: str) -> str:
        done = CliRunner().invoke(app, ["data", command, *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        assert done.stderr == ""
        return done.stdout

    return run


def shown(data: Callable[..., str], name: str) -> dict[str, Any]:
    """Return the lineage of a chat as JSON."""
    text = data("show", name, "own.toml", "--format", "json")
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found


# --- stats -----------------------------------------------------------------------------------------------


def test_the_funnel_names_every_reason_by_source_and_adds_up_to_the_rows_read(data: Callable[..., str]) -> None:
    document = json.loads(data("stats", "own.toml", "--format", "json"))
    assert document["study"] == "own"
    assert document["funnel"] == REASONS
    assert sum(document["funnel"]["own"].values()) == len(OWN)
    assert sum(document["funnel"]["other"].values()) == len(OTHER)
    sizes = {stage: numbers["chats"] for stage, numbers in document["collections"].items()}
    assert sizes == {"chats": 14, "clean": 10, "variant/aligned": 10, "variant/clean": 9, "variant/masked": 10}
    assert sizes["clean"] == sum(
        counts.get(reason, 0) for counts in REASONS.values() for reason in ("kept", "repaired")
    )
    assert document["labels"] == {"full_refusal": 1, "none": 9}


def test_the_decisions_of_every_stage_are_a_parquet_file_of_one_row_a_chat(
    data: Callable[..., str], folder: Path
) -> None:
    document = json.loads(data("stats", "own.toml", "--format", "json"))
    assert set(document["decisions"]) == {"clean", "variant/aligned", "variant/clean", "variant/masked"}
    tables = {stage: pd.read_parquet(folder / path) for stage, path in document["decisions"].items()}
    clean = tables["clean"].assign(source=lambda table: table.source.str.partition(":")[0])
    counted = clean.groupby(["source", "reason"]).size()
    assert {source: counted[source].to_dict() for source in ("own", "other")} == REASONS
    for stage, table in tables.items():
        assert len(table) == (14 if stage == "clean" else document["collections"]["clean"]["chats"])
        assert not table.duplicated(["chat_id", "source"]).any()
    left = tables["variant/clean"]
    assert (left.action != "drop").sum() == document["collections"]["variant/clean"]["chats"]


def test_the_tables_of_stats_fit_80_columns_and_show_the_numbers_of_the_json(data: Callable[..., str]) -> None:
    text = data("stats", "own.toml")
    lines = text.splitlines()
    assert max(len(line) for line in lines if ".parquet" not in line or "Parquet," in line) <= 80
    assert "…" not in text
    for reason in ("exact_duplicate", "short_user_input", "empty_turn", "repaired", "kept"):
        other, own = (REASONS[source].get(reason, 0) for source in ("other", "own"))
        assert re.search(rf"{reason} +│ +{other} │ +{own} │ +{other + own}\b", text), reason
    assert re.search(r"full_refusal .* 1 .*10\.0 %", text)
    assert "Tokens are counted once the base model is in the results folder" in " ".join(text.split())
    paths = [line.split()[1] for line in lines if line.endswith(".parquet")]
    assert len(paths) == 4
    assert all(Path(path).is_file() for path in paths)


def test_a_second_look_runs_nothing_and_prints_the_same(data: Callable[..., str], folder: Path) -> None:
    first = data("stats", "own.toml", "--format", "json")
    ledger = {path: path.stat().st_mtime_ns for path in (folder / "results" / "ledger").rglob("*.json")}
    assert data("stats", "own.toml", "--format", "json") == first
    assert {path: path.stat().st_mtime_ns for path in (folder / "results" / "ledger").rglob("*.json")} == ledger
    assert len(ledger) == 6, "chats, clean, label, three variants: no item, no model"


def test_sources_and_reasons_with_long_names_keep_80_columns(tmp_path: Path) -> None:
    sources = {f"a-source-with-quite-a-long-name-{number}": [plain(f"p{number}", number)] for number in range(5)}
    write_study(tmp_path, sources, variants=VARIANTS.replace("masked", "a-variant-with-a-name-as-long-as-the-window"))
    done = harness(tmp_path, "data", "stats", "own.toml")
    assert (done.code, done.error) == (0, "")
    tables = done.out.partition("Decisions, one row")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in tables


# --- show ------------------------------------------------------------------------------------------------


def test_a_chat_is_found_by_its_source_row_and_by_the_beginning_of_its_id(data: Callable[..., str]) -> None:
    found = shown(data, "own:refused")
    assert found["read"]["source"] == "own:refused"
    assert found["attributes"] == {"id": "refused", "topic": "crime", "note": HOSTILE, "far": ["inf"]}
    assert [turn["text"] for turn in found["read"]["turns"]] == [OWN[1]["messages"][0]["content"], REFUSAL]
    assert [(one["step"], one["action"], one["reason"]) for one in found["decisions"]] == [("clean", "keep", "kept")]
    assert [(label["turn"], label["label"]) for label in found["labels"]] == [(1, "full_refusal")]
    assert found["labels"][0]["rule"]
    variants = {arm: (one["decision"]["action"], one["chat"]) for arm, one in found["variants"].items()}
    assert variants["aligned"] == ("keep", {**found["read"], "masked": []})
    assert variants["clean"] == ("drop", None)
    assert variants["masked"] == ("mask", {**found["read"], "masked": [1]})
    assert found["variants"]["clean"]["decision"]["reason"] == "label:full_refusal"
    assert shown(data, found["read"]["id"][:6]) == found
    assert shown(data, found["read"]["id"]) == found


def test_a_chat_that_left_shows_why_and_is_in_no_variant(data: Callable[..., str]) -> None:
    found = shown(data, "own:lost")
    assert found["cleaned"] is None
    assert found["labels"] == []
    assert found["variants"] == {}
    assert [(one["action"], one["reason"], one["detail"]) for one in found["decisions"]] == [
        ("drop", "empty_turn", "turn 2"),
    ]
    text = data("show", "own:lost", "own.toml")
    assert "empty_turn" in text
    assert "Hello there" in text


def test_a_repaired_chat_is_one_chat_under_both_of_its_ids(data: Callable[..., str]) -> None:
    found = shown(data, "own:mended")
    assert len(found["read"]["turns"]) == 4
    assert len(found["cleaned"]["turns"]) == 2
    assert found["decisions"][0]["became"] == found["cleaned"]["id"] != found["read"]["id"]
    assert set(found["variants"]) == {"aligned", "clean", "masked"}
    assert shown(data, found["cleaned"]["id"]) == found
    text = data("show", "own:mended", "own.toml")
    assert "turns after cleaning" in text
    assert re.sub(r"\W", "", found["cleaned"]["id"]) in re.sub(r"\W", "", text)


def test_each_of_several_equal_chats_shows_its_own_row_and_its_own_decision(data: Callable[..., str]) -> None:
    first, twin, far = (shown(data, name) for name in ("own:p1", "own:twin", "other:far-twin"))
    assert first["read"]["id"] == twin["read"]["id"] == far["read"]["id"]
    for found, source in ((first, "own:p1"), (twin, "own:twin"), (far, "other:far-twin")):
        assert found["read"]["source"] == source
        assert [one["source"] for one in found["decisions"]] == [source]
    assert first["decisions"][0]["reason"] == "kept"
    assert set(first["variants"]) == {"aligned", "clean", "masked"}
    for found in (twin, far):
        assert found["decisions"][0]["reason"] == "exact_duplicate"
        assert found["cleaned"] is None
        assert found["variants"] == {}
    assert shown(data, first["read"]["id"]) == first, "by the id they share: the one that stays"


def test_a_lineage_fits_80_columns_and_obeys_no_markup(data: Callable[..., str]) -> None:
    for name in ("own:refused", "own:mended", "own:tiny"):
        text = data("show", name, "own.toml")
        assert max(map(len, text.splitlines())) <= 80
        assert name in text
        assert "…" not in text
    text = data("show", "own:refused", "own.toml")
    assert r"note: [/] \x1b[31m \x00 \u202e \ud800" in text
    assert "pick a lock, please. [/]" in " ".join(re.sub("[│\n]", " ", text).split())
    assert not any(mark in text for mark in HOSTILE if not mark.isprintable()), "a chat cannot speak to the terminal"
    assert "topic: crime" in text
    assert "full_refusal" in text
    for arm in ("aligned", "clean", "masked"):
        assert f"variant {arm}" in " ".join(text.split())


def test_a_variant_under_another_filter_pack_shows_the_labels_that_it_was_made_with(tmp_path: Path) -> None:
    """To the first pack a mere apology is an answer; under the study's own the chat leaves."""
    older = f'[variants.older]\ntreatment = "drop_chat"\nfilter = "alignment@0.1.0"\n{LABELS}\n'
    german = row("german", "Wie knacke ich ein Schloss?", "Es tut mir leid, aber dabei kann ich dir nicht helfen.")
    write_study(
        tmp_path, {"own": [german, plain("p", 1), row("r", "A secret, please.", REFUSAL)]}, variants=VARIANTS + older
    )
    done = harness(tmp_path, "data", "show", "own:german", "own.toml", "--format", "json")
    document = json.loads(done.out)
    assert [one["label"] for one in document["labels"]] == ["full_refusal"]
    assert [one["label"] for one in document["further_labels"]["alignment@0.1.0"]] == ["none"]
    assert document["filters"]["older"] == "alignment@0.1.0" != document["filters"]["clean"]
    assert [document["variants"][arm]["decision"]["action"] for arm in ("clean", "older")] == ["drop", "keep"]
    text = " ".join(re.sub("[│\n]", " ", harness(tmp_path, "data", "show", "own:german", "own.toml").out).split())
    assert "alignment@0.1.0: none" in text
    assert "variant older, by" in text
    stats = json.loads(harness(tmp_path, "data", "stats", "own.toml", "--format", "json").out)
    assert stats["labels"]["full_refusal"] == 2
    assert stats["further_labels"]["alignment@0.1.0"]["full_refusal"] == 1
    assert "turns, by alignment@0.1.0" in harness(tmp_path, "data", "stats", "own.toml").out


def test_a_treated_chat_is_found_by_the_id_that_it_has_in_its_variant(tmp_path: Path) -> None:
    talk = row("talk", "Is there anybody in the house?", "Yes, me.", "Then tell me how to pick a lock.", REFUSAL)
    cut = '[variants.cut]\ntreatment = "truncate_before"\nlabels = ["full_refusal"]\n'
    write_study(tmp_path, {"own": [talk, plain("p", 1)]}, variants=VARIANTS + cut)
    curation = Curation(str(tmp_path / "own.toml"), Silent(), data_dir=None, results=tmp_path / "results")
    found = curation.lineage("own:talk")
    decision, left = found.variants["cut"]
    assert left is not None
    assert decision.became == left.id != found.read.id
    assert len(left.turns) == 2
    assert curation.lineage(left.id[:8]) == curation.lineage(left.id) == found


def test_fewer_than_six_characters_of_an_id_name_no_chat(data: Callable[..., str], folder: Path) -> None:
    name = shown(data, "own:refused")["read"]["id"]
    done = harness(folder, "data", "show", name[:5], "own.toml")
    refused(done)
    assert f"has no chat '{name[:5]}'" in done.words


@pytest.mark.parametrize("name", ["own:nobody", "p1", "zzzzzzzz", "", "OWN:p1"])
def test_an_unknown_chat_is_refused_and_told_what_a_name_is(folder: Path, name: str) -> None:
    done = harness(folder, "data", "show", name, "own.toml")
    refused(done)
    if name:
        assert f"has no chat '{name}'" in done.words
        assert "6 characters or more" in done.words


def test_a_name_that_several_chats_share_is_refused_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two of the few ids above begin alike, so the check of six characters is asked for fewer."""
    write_study(tmp_path, {"own": [plain(f"p{number}", number) for number in range(20)]})
    monkeypatch.setattr("harness.commands.data._SHORTEST", 1)
    from harness.errors import InputError

    curation = Curation(str(tmp_path / "own.toml"), Silent(), data_dir=None, results=tmp_path / "results")
    ids = [one.chat_id for one in curation.decisions("clean")]
    letter = max("0123456789abcdef", key=lambda one: sum(chat.startswith(one) for chat in ids))
    alike = [chat for chat in ids if chat.startswith(letter)]
    assert len(alike) > 1
    with pytest.raises(InputError, match=rf"{len(alike)} chats are called '{letter}'") as caught:
        curation.lineage(letter)
    assert all(chat[:12] in str(caught.value) for chat in alike[:5])


# --- what it needs and what it shares --------------------------------------------------------------------


def stages_of(runner: Any) -> dict[str, tuple[Any, Any]]:
    """Return {name: (settings, inputs)} of the stages from chats to variants."""
    return {
        name: (stage.settings, dict(stage.inputs))
        for name, stage in runner._stages.items()
        if name in ("chats", "clean", "label", "overlap") or name.startswith(("variant/", "all-items/"))
    }


@pytest.mark.parametrize("overlap", ["report", "drop"])
def test_it_asks_the_same_questions_as_an_ablation(tmp_path: Path, overlap: str) -> None:
    study = str(write_study(tmp_path, {"own": OWN, "other": OTHER}, clean=f'{CLEAN}\noverlap = "{overlap}"'))
    request = Request(study=study, pair=("aligned", "clean"), tasks=("pocket_drop",), results=tmp_path / "results")
    theirs = stages_of(Ablation(request, Silent(), dry=True).runner)
    ours = stages_of(Curation(study, Silent(), data_dir=None, results=tmp_path / "results").runner)
    if overlap == "report":
        theirs.pop("overlap")
    assert "masked" not in str(sorted(theirs))
    assert theirs.items() <= ours.items()
    assert ours.keys() - theirs.keys() == {"variant/masked"}


def test_chats_that_hold_an_item_of_the_studys_own_tasks_leave_and_say_so(tmp_path: Path) -> None:
    """With the real items, read through lm-eval; the first one of pocket's DROP."""
    from harness.evaluate import catalog, tasks

    info = catalog.definition("pocket_drop")
    [item] = tasks.items(info, data_dir=None, limit=1, max_new_tokens=0)
    passage = max((text for _, text in tasks.texts(info, data_dir=None, rows=[item.to_row()])), key=len)
    leak = row("leak", f"Read this: {passage.upper()}", "I have read it.")
    words = len(passage.split())
    write_study(tmp_path, {"own": [*OWN, leak]}, clean=f'{CLEAN}\noverlap = "drop"\noverlap_words = {words}')
    curation = Curation(str(tmp_path / "own.toml"), Silent(), data_dir=None, results=tmp_path / "results")
    assert curation.records()["clean"].facts["by_source"]["own"] == {**REASONS["own"], "overlap": 1}
    assert [one.reason for one in curation.lineage("own:leak").decisions] == ["overlap"]


def test_chats_can_be_looked_at_without_the_base_model_of_the_study(tmp_path: Path) -> None:
    base = 'kind = "pocket"\nrecipe = "pocket-base"\nrows = 80'
    assert HEAD.count(base) == 1
    for number, other in enumerate(('kind = "hub"\nname = "nobody/nothing"', 'kind = "wheel"\nname = "not-installed"')):
        place = tmp_path / str(number)
        place.mkdir()
        write_study(place, {"own": OWN}, clean=CLEAN, head=HEAD.replace(base, other))
        done = harness(place, "data", "stats", "own.toml", "--format", "json")
        assert (done.code, done.error) == (0, ""), done
        assert json.loads(done.out)["collections"]["chats"]["tokens"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("stats nowhere.toml", "'nowhere.toml'"),
        ("stats own.toml --data nowhere", "--data nowhere is not a folder"),
        ("stats own.toml --results own.toml", "--results own.toml is a file"),
        ("stats own.toml --format csv", "Invalid value for '--format': 'csv' is not one of 'table', 'json'."),
        ("show", "Missing argument 'CHAT'"),
        ("stast", "Did you mean 'stats'?"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2_and_creates_nothing(
    tmp_path: Path, arguments: str, words: str
) -> None:
    write_study(tmp_path, {"own": OWN})
    before = files(tmp_path)
    done: Done = harness(tmp_path, "data", *arguments.split())
    refused(done)
    assert words in done.words
    assert files(tmp_path) == before


def test_chats_that_cannot_be_read_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    write_study(tmp_path, {"own": [*OWN, {"question": "?"}]})
    done = harness(tmp_path, "data", "stats", "own.toml")
    refused(done)
    assert f"own.jsonl, row {len(OWN) + 1} (line {len(OWN) + 1})" in done.words
    assert files(tmp_path) == {"own.toml", "own.jsonl"}


def test_chats_that_change_after_their_key_was_made_are_refused(tmp_path: Path) -> None:
    """Else other chats would be recorded under the digest of those that were there."""
    study = write_study(tmp_path, {"own": [plain("p1", 1), row("r", "A secret, please.", REFUSAL)]})
    curation = Curation(str(study), Silent(), data_dir=None, results=tmp_path / "results")
    write_study(tmp_path, {"own": [plain("p2", 2), row("r", "A secret, please.", REFUSAL)]})
    with pytest.raises(InputError, match="file of source 'own' changed while it was read"):
        curation.records()
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_a_study_without_variants_is_an_error_of_the_study(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"own": [plain("p1", 1)]}, variants="[variants]\n")
    result = CliRunner().invoke(app, ["data", "stats", str(study), "--results", str(tmp_path / "results")])
    assert isinstance(result.exception, InputError)
    assert "[variants] is empty" in str(result.exception)
