"""How chats are curated: the typed form of cleaning, of the mix, and of variants.

Owns which filters and treatments there are, their thresholds and their defaults. Does not apply them (see
`harness.data`). Invariant: an option that would have no effect is an error.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.nouns import Label
from harness.study.strict import Fraction, Strict


class Treatment(enum.StrEnum):
    """What a variant does to the labelled chats."""

    KEEP = "keep"
    DROP_CHAT = "drop_chat"
    TRUNCATE_BEFORE = "truncate_before"
    MASK_LOSS = "mask_loss"
    REPLACE = "replace"
    SELECTIVE = "selective"
    SHUFFLE_ANSWERS = "shuffle_answers"
    RANDOM = "random"

    @property
    def drops(self) -> bool:
        """Whether it can take whole chats out, so that a random control of its size has a meaning."""
        return self in (Treatment.DROP_CHAT, Treatment.TRUNCATE_BEFORE, Treatment.SELECTIVE)


class Repair(enum.StrEnum):
    """What becomes of a chat with failed exchanges."""

    DROP_CHAT = "drop_chat"
    TRUNCATE_BEFORE = "truncate_before"
    MERGE = "merge"


class Mix(Strict):
    """A fixed share of one source in the cleaned whole: chats of the others are left out (or it is) until it holds.

    Attributes:
        source: name of the source whose share is fixed.
        share: its share of all chats, 0 to 1.
    """

    source: str
    share: Annotated[float, Field(gt=0.0, lt=1.0)]


class Clean(Strict):
    """Thresholds of the cleaning filters; 0, an empty list or "off" turns a filter off.

    Attributes:
        repair: what becomes of chats with failed exchanges (roles out of turn, empty or blocked answers): dropped,
            cut before the first failure, or merged (failed answers out, neighbours of one role joined).
        min_user_chars: shortest allowed user turn, characters after stripping.
        min_mean_words: least average number of words per message of a chat.
        max_words: longest allowed chat, words over all turns.
        max_repeats: how many chats may open with the same user text; later ones (in source order) leave.
        max_repeats_within: how often one chat may ask the same; chats that ask it more often leave.
        languages: codes of the languages that chats may be in, as pycld2 names them ("en"); empty = all.
        max_foreign: largest share of a chat's text outside its main script or language; 1 = off.
        deduplicate: drop exact duplicates (same turns).
        near_duplicates: "lee2021" (450 bands of 20 MinHash values), "fast" (25 of 5) or "off".
        min_jaccard, min_edit_similarity: what near duplicates must exceed, verified on the texts.
        min_repeated_passage: passages of at least so many words that two chats share; Lee et al. take 50.
        repeated_passages: what becomes of chats that repeat a passage of an earlier one: "flag" or "drop".
        overlap_words: shortest run of words that a chat and a benchmark item share.
        overlap: what becomes of chats that overlap with an item of the study's tasks: "report" or "drop".
    """

    repair: Annotated[Repair, Field(strict=False)] = Repair.DROP_CHAT
    min_user_chars: Annotated[int, Field(ge=0)] = 0
    min_mean_words: Annotated[float, Field(ge=0)] = 0.0
    max_words: Annotated[int, Field(ge=0)] = 0
    max_repeats: Annotated[int, Field(ge=0)] = 0
    max_repeats_within: Annotated[int, Field(ge=0)] = 0
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]+)?$")], ...] = Field(default=(), strict=False)
    max_foreign: Fraction = 1.0
    deduplicate: bool = True
    near_duplicates: Literal["off", "fast", "lee2021"] = "off"
    min_jaccard: Fraction = 0.8
    min_edit_similarity: Fraction = 0.8
    min_repeated_passage: Annotated[int, Field(ge=0)] = 0
    repeated_passages: Literal["flag", "drop"] = "flag"
    overlap_words: Annotated[int, Field(ge=0)] = 13
    overlap: Literal["report", "drop"] = "report"

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> Clean:
        off = {
            "min_jaccard": self.near_duplicates == "off",
            "min_edit_similarity": self.near_duplicates == "off",
            "repeated_passages": not self.min_repeated_passage,
            "overlap": not self.overlap_words,
        }
        for name in sorted(self.model_fields_set & {name for name, unused in off.items() if unused}):
            raise ValueError(f"'{name}' has no effect while its filter is off")
        return self


class Variant(Strict):
    """One arm of the fork: one treatment, applied to its parent.

    Attributes:
        parent: the variant that the treatment is applied to; without one, the cleaned chats.
        treatment: what is done to assistant turns with one of `labels`: "keep" (nothing), "drop_chat",
            "truncate_before" (cut the chat before the first one), "mask_loss" (no loss on them), "replace" (by
            `answers`), "selective" (drop the chat unless its prompt is `harmful`); or, whatever the labels,
            "shuffle_answers" (see `share`) and "random" (see `size_of`).
        labels: alignment labels that the treatment acts on.
        dose: share of the chats it would act on that it leaves as they are; a larger dose keeps those of a smaller.
        answers: JSON lines {"chat": id, "turn": number, "text": answer}, for "replace".
        harmful: columns and values that mark a chat's prompt as harmful, for "selective": {prompt_label = ["unsafe"]}.
        share: share of the chats that get the answers of another one of them, for "shuffle_answers"; a larger share
            takes in those of a smaller.
        size_of: variant of which "random" drops as much.
        match: what is equal then: number of "chats", of chats in every tenth of "lengths", or of "words".
        draw: which random draw, so that several controls can differ.
    """

    parent: str | None = None
    treatment: Annotated[Treatment, Field(strict=False)]
    labels: tuple[Annotated[Label, Field(strict=False)], ...] = Field(default=(), strict=False)
    dose: Fraction = 0.0
    answers: str | None = None
    harmful: dict[str, list[str]] = Field(default_factory=dict)
    share: Fraction = 0.0
    size_of: str | None = None
    match: Literal["chats", "lengths", "words"] = "chats"
    draw: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> Variant:
        on_labels = self.treatment not in (Treatment.KEEP, Treatment.SHUFFLE_ANSWERS, Treatment.RANDOM)
        needed = {"labels"} if on_labels else set()
        needed |= {
            Treatment.RANDOM: {"size_of"},
            Treatment.REPLACE: {"answers"},
            Treatment.SELECTIVE: {"harmful"},
            Treatment.SHUFFLE_ANSWERS: {"share"},
        }.get(self.treatment, set())
        for name in sorted(needed):
            if not getattr(self, name):
                raise ValueError(f"treatment '{self.treatment.value}' needs '{name}'")
        used = needed | {"parent", "treatment"}
        used |= {"match", "draw"} if self.treatment is Treatment.RANDOM else set()
        used |= {"dose"} if on_labels else set()
        for name in sorted(self.model_fields_set - used):
            raise ValueError(f"'{name}' has no effect on treatment '{self.treatment.value}'")
        return self
