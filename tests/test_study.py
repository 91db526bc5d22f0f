"""Study and recipe files: strict, all errors at once, and the choice that the command line makes of a study."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import layout
from harness.errors import InputError
from harness.evaluate import catalog
from harness.study import Study, Treatment, load_recipe, load_study
from harness.study.choice import choose, definition, runs, score_name

STUDIES = sorted(layout.names("training", "studies"))
RECIPES = sorted(layout.names("training", "recipes"))
POCKET = layout.find("studies", "pocket").read_text(encoding="utf-8")
RECIPE = layout.find("recipes", "pocket").read_text(encoding="utf-8")


def error_of(path: Path, text: str, *changes: tuple[str, str]) -> str:
    """Write a study or recipe with changes, load it, and return what it is refused for."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(str(path)) if text.startswith("# ") else load_study(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


# --- what is shipped -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_every_shipped_study_parses_and_everything_it_names_exists(name: str) -> None:
    study, path = load_study(name)
    assert study.name == name == path.stem
    load_recipe(study.recipe, beside=path)
    if study.base.recipe is not None:
        load_recipe(study.base.recipe, beside=path)
    assert list(catalog.require(study.tasks)) == list(study.tasks)
    for profile in study.profiles:
        for task, info in catalog.require(study.tasks, profile=profile).items():
            assert (info.name, info.of, info.profile) == (definition(task, profile), task, profile)
    assert (layout.shipped("training") / "filters" / f"{study.filter}.toml").is_file()
    assert set(study.estimate.chats) == set(study.variants)
    assert len(study.title) <= 120


@pytest.mark.parametrize("name", STUDIES)
def test_every_shipped_study_has_a_control_of_equal_size_and_several_seeds(name: str) -> None:
    study, _ = load_study(name)
    assert any(variant.treatment is Treatment.RANDOM for variant in study.variants.values())
    assert len(study.seeds) > 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_parses_under_its_own_name(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.global_batch % (recipe.machine.ranks * recipe.machine.micro_batch) == 0


def test_the_shipped_studies_and_recipes_are_the_ones_we_know() -> None:
    assert STUDIES == ["pocket", "poison-of-alignment", "smollm2"]
    assert RECIPES == ["paper-7b", "pocket", "pocket-base", "smollm2"]


def test_a_recipe_beside_a_study_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace('name = "pocket"', 'name = "mine"'), encoding="utf-8")
    study = tmp_path / "study.toml"
    study.write_text(POCKET, encoding="utf-8")
    assert load_recipe("mine", beside=study).name == "mine"
    assert load_recipe("mine.toml", beside=study).name == "mine"


# --- errors of a file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds =", "sedes =", "sedes: unknown key. Did you mean 'seeds'?"),
        ("rows = 5600", "row = 5600", "base.row: unknown key. Did you mean 'rows'?"),
        ("chats = 1500", "chats = 1500\nspilt = 'x'", "sources.0.spilt: unknown key. Did you mean 'split'?"),
        ("max_repeats", "max_repeat", "clean.max_repeat: unknown key. Did you mean 'max_repeats'?"),
        ('size_of = "clean"', 'size_off = "clean"', "variants.random.size_off: unknown key. Did you mean 'size_of'?"),
        ("max_length", "max_lenght", "evaluation.max_lenght: unknown key. Did you mean 'max_length'?"),
        ("tokens_per_chat", "token_per_chat", "estimate.token_per_chat: unknown key. Did you mean 'tokens_per_chat'?"),
        (
            "[variants.aligned]\ntreatment",
            "[variants.labels]\ntreatmnt",
            "treatmnt: unknown key. Did you mean 'treatment'?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(file: Path, old: str, new: str, message: str) -> None:
    assert message in error_of(file, POCKET, (old, new))


def test_an_unknown_key_that_is_near_to_none_lists_what_there_is(file: Path) -> None:
    error = error_of(file, RECIPE, ("[machine]", "[machine]\nxyzzy = 1"))
    assert "machine.xyzzy: unknown key. Known: micro_batch, parallel, ranks, threads." in error


def test_all_errors_of_a_file_are_reported_at_once(file: Path) -> None:
    error = error_of(
        file,
        POCKET,
        ("seeds =", "sedes ="),
        ("rows = 5600", 'rows = "many"'),
        ('kind = "pocket"\nchats', 'kind = "poket"\nchats'),
        ('treatment = "keep"', 'treatment = "kep"'),
        ("max_repeats = 3", "max_repeats = -3"),
    )
    first, *lines = error.splitlines()
    assert first == "6 errors"
    assert [line.strip().partition(":")[0] for line in sorted(lines)] == sorted(
        ["sedes", "seeds", "base.rows", "sources.0.kind", "variants.aligned.treatment", "clean.max_repeats"]
    )


def test_a_missing_key_is_named(file: Path) -> None:
    assert "title: this key is required." in error_of(file, 'name = "x"\n')
    assert re.search(r"^  global_batch: this key is required\.$", error_of(file, "# r\nname='x'\nmax_length=1"), re.M)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('kind = "pocket"\nchats', 'kind = "poket"\nchats', ["sources.0.kind", "'pocket', 'file' or 'hub'", "'poket'"]),
        ('treatment = "keep"', 'treatment = "kep"', ["variants.aligned.treatment", "'keep'", "'drop_chat'", "'kep'"]),
        (
            'drop_chat"\nlabels = ["full',
            'drop_chat"\nlabels = ["ful',
            ["variants.clean.labels.0", "'full_refusal'", "'ful_refusal'"],
        ),
        ('dtype = "float32"', 'dtype = "float16"', ["evaluation.dtype", "'float32' or 'bfloat16'", "'float16'"]),
        ("seeds = [0, 1, 2]", "seeds = [0, 1, -2]", ["seeds.2", "greater than or equal to 0", "-2"]),
        ("seeds = [0, 1, 2]", "seeds = []", ["seeds", "at least 1 item"]),
        ("seeds = [0, 1, 2]", "seeds = [0]\nprofiles = []", ["profiles", "at least 1 item"]),
        (
            "seeds = [0, 1, 2]",
            'seeds = [0]\nprofiles = ["lm-eval", "strickt"]',
            ["profiles.1", "'lm-eval', 'instructeval' or 'strict'", "'strickt'"],
        ),
        ("max_length = 1024", 'max_length = 1024\nengine = "vlm"', ["evaluation.engine", "'vllm' or 'trans", "'vlm'"]),
        ("max_length = 1024", "max_length = 1024\nsamples = 0", ["evaluation.samples", "greater than", "0"]),
        ("max_length = 1024", "max_length = 1024\ntemperature = -0.5", ["evaluation.temperature", "-0.5"]),
        ("max_length = 1024", "max_length = 1024\nsamples = 5", ["evaluation", "need the key 'temperature' above 0"]),
        (
            "max_length = 1024",
            "max_length = 1024\nsamples = 5\ntemperature = 0.0",
            ["evaluation", "need the key 'temperature' above 0"],
        ),
        ('name = "pocket"\ntitle', 'name = "Pocket/.."\ntitle', ["name", "Pocket/.."]),
        ("chats = 1500", 'chats = "1500"', ["sources.0.chats", "valid integer", "'1500'"]),
        ("chats = 1500", "chats = true", ["sources.0.chats", "valid integer"]),
        ("chats = 1500", "chats = 1500.0", ["sources.0.chats", "valid integer"]),
    ],
)
def test_a_wrong_value_is_refused_with_the_place_and_what_is_allowed(
    file: Path, old: str, new: str, parts: list[str]
) -> None:
    error = error_of(file, POCKET, (old, new))
    assert error.startswith("1 error\n"), error
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'treatment = "keep"',
            'treatment = "keep"\nlabels = ["moralising"]',
            "'labels' has no effect on treatment 'keep'",
        ),
        ('treatment = "keep"', 'treatment = "keep"\ndraw = 1', "'draw' has no effect on treatment 'keep'"),
        ('treatment = "keep"', 'treatment = "keep"\nsize_of = "clean"', "'size_of' has no effect on treatment 'keep'"),
        ('treatment = "keep"', 'treatment = "keep"\ndose = 0.5', "'dose' has no effect on treatment 'keep'"),
        ('size_of = "clean"', 'size_of = "clean"\ndose = 0.5', "'dose' has no effect on treatment 'random'"),
        ('treatment = "drop_chat"', 'treatment = "drop_chat"\nanswers = "x"', "'answers' has no effect on treatment"),
        ('treatment = "drop_chat"', 'treatment = "replace"', "treatment 'replace' needs 'answers'"),
        ('treatment = "drop_chat"', 'treatment = "selective"', "treatment 'selective' needs 'harmful'"),
        ("[clean]", "[clean]\nmin_jaccard = 0.9", "clean: 'min_jaccard' has no effect while its filter is off"),
        ("[clean]", '[clean]\noverlap_words = 0\noverlap = "drop"', "'overlap' has no effect while its filter is off"),
        ("[clean]", '[clean]\nrepeated_passages = "drop"', "'repeated_passages' has no effect while its filter is"),
        ('treatment = "keep"', 'treatment = "drop_chat"', "treatment 'drop_chat' needs 'labels'"),
        ('size_of = "clean"', "draw = 1", "treatment 'random' needs 'size_of'"),
        ("chats = 1500", 'chats = 1500\nhub = "a/b"', "the key 'hub' has no effect on a source of kind 'pocket'"),
        ('kind = "pocket"\nchats = 1500', 'kind = "file"', "a source of kind 'file' needs the key 'path'"),
        (
            'kind = "pocket"\nchats',
            'kind = "file"\npath = "x"\nchats',
            "'chats' has no effect on a source of kind 'file'",
        ),
        ('kind = "pocket"\nchats = 1500', 'kind = "hub"', "a source of kind 'hub' needs the key 'hub'"),
        ("chats = 1500", 'chats = 1500\nsplit = "test"', "the key 'split' has no effect on a source of kind 'pocket'"),
        ("chats = 1500", 'chats = 1500\non_truncated = "keep"', "'on_truncated' has no effect on a source of kind"),
        ("rows = 5600", 'rows = 5600\nname = "x"', "the key 'name' has no effect on a base of kind 'pocket'"),
        ("rows = 5600", 'rows = 5600\nrevision = "x"', "the key 'revision' has no effect on a base of kind 'pocket'"),
        ("rows = 5600\n", "", "a base of kind 'pocket' needs the key 'rows'"),
        (
            'kind = "pocket"\nrecipe = "pocket-base"\nrows = 5600',
            'kind = "wheel"',
            "base of kind 'wheel' needs the key 'name'",
        ),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(file: Path, old: str, new: str, message: str) -> None:
    assert message in error_of(file, POCKET, (old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('size_of = "clean"', 'size_of = "cleen"', "variants.random.size_of must name a variant"),
        (
            'size_of = "clean"',
            'size_of = "random"',
            "variants.random.size_of must name a variant whose treatment drops chats",
        ),
        ('size_of = "clean"', 'size_of = "aligned"', "must name a variant whose treatment drops chats"),
        (
            'size_of = "clean"',
            'size_of = "clean"\nparent = "aligned"',
            "variants.random must have the parent of 'clean'",
        ),
        ('treatment = "keep"', 'treatment = "keep"\nparent = "alined"', "aligned.parent 'alined' is not a variant"),
        ('treatment = "keep"', 'treatment = "keep"\nparent = "aligned"', "variants.aligned is its own ancestor"),
        (
            'treatment = "keep"',
            'treatment = "keep"\nparent = "b"\n[variants.b]\ntreatment = "keep"\nparent = "aligned"',
            "variants.aligned is its own ancestor; variants.b is its own ancestor",
        ),
        (
            '[variants.clean]\ntreatment = "drop_chat"',
            '[variants.b]\ntreatment = "replace"\nanswers = "y"\nlabels = ["moralising"]\n'
            '[variants.clean]\nparent = "b"\ntreatment = "replace"\nanswers = "x"',
            "variants.clean replaces answers that a parent has replaced already",
        ),
        ("[variants.aligned]", "[variants.base]", "'base' is the untrained arm"),
        ("seeds = [0, 1, 2]", 'seeds = [0]\nprofiles = ["strict", "strict"]', "a profile is listed twice"),
        ("seeds = [0, 1, 2]", "seeds = [0, 1, 1]", "a seed is listed twice"),
        ("{ aligned = 1400", "{ alinged = 1400", "estimate.chats names 'alinged', which is not a variant"),
        ('"pocket_drop"]', '"pocket_drop", "pocket_bbh"]', "a task is listed twice"),
        (
            "[clean]",
            '[mix]\nsource = "dolly"\nshare = 0.5\n[clean]',
            "mix.source 'dolly' is not one of the sources ['pocket']",
        ),
        (
            "[clean]",
            '[[sources]]\nname = "pocket"\nkind = "pocket"\nchats = 1\n[clean]',
            "two sources have the same name",
        ),
    ],
)
def test_what_a_study_refers_to_must_be_in_it(file: Path, old: str, new: str, message: str) -> None:
    assert message in error_of(file, POCKET, (old, new))


def test_bf16_at_zero_stage_0_is_refused_and_told_what_works(file: Path) -> None:
    error = error_of(file, RECIPE, ("zero_stage = 3", "zero_stage = 0"))
    assert "set zero_stage = 1 or precision = 'fp32'" in error
    file.write_text(RECIPE.replace("zero_stage = 3", "zero_stage = 0").replace('"bf16"', '"fp32"'), encoding="utf-8")
    assert load_recipe(str(file)).zero_stage == 0


@pytest.mark.parametrize("stage", [4, -1])
def test_there_is_no_other_zero_stage(file: Path, stage: int) -> None:
    assert "zero_stage" in error_of(file, RECIPE, ("zero_stage = 3", f"zero_stage = {stage}"))


def test_broken_toml_is_named_with_its_line(file: Path) -> None:
    assert re.search(r"not valid TOML: .*line 3, column 9", error_of(file, 'name = "x"\ntitle = "y"\nseeds = = 3\n'))


def test_a_file_that_is_not_text_is_named_with_the_byte(file: Path) -> None:
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(InputError, match=r"own\.toml: not UTF-8 text \(byte 8\)"):
        load_study(str(file))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"There is no study named 'pokcet'\. Did you mean 'pocket'"):
        load_study("pokcet")
    with pytest.raises(InputError, match=r"There is no recipe named 'smolm2'\. Did you mean 'smollm2'"):
        load_recipe("smolm2")
    with pytest.raises(InputError, match=r"'nowhere/x\.toml'"):
        load_study("nowhere/x.toml")


# --- the choice ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("pocket")[0]


def test_the_default_pair_is_the_first_two_variants_with_base_and_control(study: Study) -> None:
    choice = choose(study, pair=(), seeds=None, tasks=None, limit=None)
    assert (choice.reference, choice.treated) == ("aligned", "clean")
    assert choice.arms == ("base", "aligned", "clean", "random", "again")
    assert choice.seeds == (0, 1, 2)
    assert choice.tasks == study.tasks
    assert choice.limit == 0


def test_the_pair_keeps_its_order_and_brings_its_controls(study: Study) -> None:
    choice = choose(study, pair=("clean", "aligned"), seeds=2, tasks=["pocket_drop"], limit=7)
    assert (choice.reference, choice.treated) == ("clean", "aligned")
    assert choice.arms == ("base", "clean", "aligned", "random", "again")
    assert (choice.seeds, choice.tasks, choice.limit) == ((0, 1), ("pocket_drop",), 7)


def test_a_pair_without_a_matched_arm_has_no_control_and_a_control_in_the_pair_is_listed_once(study: Study) -> None:
    assert choose(study, pair=("base", "aligned"), seeds=None, tasks=None, limit=None).arms == ("base", "aligned")
    arms = choose(study, pair=("random", "clean"), seeds=None, tasks=None, limit=None).arms
    assert arms == ("base", "random", "clean", "again")


def test_the_profiles_are_the_studys_own_unless_others_are_asked_for(study: Study) -> None:
    own = choose(study, pair=(), seeds=None, tasks=["pocket_drop", "pocket_bbh"], limit=None)
    assert own.profiles == study.profiles == ("lm-eval",)
    assert own.definitions == ("pocket_drop", "pocket_bbh")
    both = choose(
        study,
        pair=(),
        seeds=None,
        tasks=["pocket_drop", "pocket_bbh"],
        limit=None,
        profiles=("strict", "lm-eval", "strict"),
    )
    assert both.profiles == ("strict", "lm-eval")
    assert both.definitions == ("pocket_drop_strict", "pocket_bbh_strict", "pocket_drop", "pocket_bbh")


@pytest.mark.parametrize("profile", ["instructeval", "strict"])
def test_the_definitions_of_a_profile_have_the_names_that_a_study_gives_them(profile: str) -> None:
    for task in catalog.tasks():
        if profile in catalog.profiles(task):
            assert catalog.definition(task, profile).name == definition(task, profile)


def test_a_task_that_is_named_twice_is_asked_once(study: Study) -> None:
    tasks = ["pocket_drop", "pocket_bbh", "pocket_drop"]
    assert choose(study, pair=(), seeds=None, tasks=tasks, limit=None).tasks == ("pocket_drop", "pocket_bbh")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": ("aligned", "cleen")}, "no variant named 'cleen'. Did you mean 'clean'?"),
        ({"pair": ("bsae", "clean")}, "no variant named 'bsae'. Did you mean 'base'?"),
        ({"pair": ("aligned", "xyzzy")}, "Known: aligned, base, clean, masked, random."),
        ({"pair": ("aligned",)}, "takes two different variants"),
        ({"pair": ("aligned", "aligned")}, "given: 'aligned,aligned'"),
        ({"pair": ("aligned", "clean", "random")}, "such as --variant aligned,clean"),
        ({"tasks": ["pocket_mmul"]}, "a task named 'pocket_mmul'. Did you mean 'pocket_mmlu'?"),
        ({"tasks": ["mmlu"]}, "does not evaluate a task named 'mmlu'. Did you mean 'pocket_mmlu'?"),
        ({"seeds": 4}, "--seeds 4: study 'pocket' names 3 seeds [0, 1, 2]; ask for 1 to 3"),
        ({"seeds": 0}, "--seeds 0"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_with_what_can(
    study: Study, options: dict[str, object], message: str
) -> None:
    given = {"pair": (), "seeds": None, "tasks": None, "limit": None, **options}
    with pytest.raises(InputError) as caught:
        choose(study, **given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_the_base_is_asked_once_and_every_other_arm_once_a_seed(study: Study) -> None:
    choice = choose(study, pair=("base", "clean"), seeds=2, tasks=None, limit=None)
    assert runs(choice) == [
        ("base", None, "base"),
        *[(arm, seed, f"train/{arm}/{seed}") for arm in ("clean", "random") for seed in (0, 1)],
    ]
    assert score_name("base", None, "drop") == "score/base/drop"
    assert score_name("clean", 1, "drop") == "score/clean/1/drop"
