"""Filter packs as files: the format of `training/filters/<name>@<version>.toml` and its checks.

Owns what a file may say. Does not compile it (see `compiling`) or find it (see `pack`). Invariant: a file that is read
fits together: languages, scores and classifiers that rules ask for are there.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.nouns import Label


class Rule(BaseModel):
    """One rule as written in the pack; all patterns ignore case and see folded quotation marks.

    Attributes:
        id: stable name that labels and reports carry.
        label: what a turn is labelled when the rule fires. "none" acquits: no later rule is tried. "undetermined" is
            for what cannot be told, such as an apology that is cut off before its reason.
        language: the turn must be in this language; heeded only where the pack names its languages.
        words: words in lower case, one of which must be at the start of the turn (its first 800 characters) or, where
            the rule is not bound to sentences, at its end. They spare the cost of the pattern on all other turns.
        also: further words, one of which must be there as well.
        pattern: searched within one sentence at a time.
        sentences: only this many sentences from the start of the turn are looked at; 0 = all.
        user: the user turn before (of a long one, the start and the end) must contain this.
        rest: the turn must contain this after the match, within 5,000 characters.
        unless: the sentence must contain none of these.
        unless_rest: the turn must contain none of these after the match, within 5,000 characters.
        unless_user: the user turn before must contain none of these.
        max_words: only turns of at most this many words; 0 = any length.
        score: the classifier must give at least this probability to one of `score_of`; 0 = not asked.
        score_of: the labels whose probabilities are added for `score`; empty = the rule's own label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    label: Label
    pattern: str
    language: str = "en"
    words: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    sentences: int = Field(default=0, ge=0)
    user: str | None = None
    rest: str | None = None
    unless: tuple[str, ...] = ()
    unless_rest: tuple[str, ...] = ()
    unless_user: tuple[str, ...] = ()
    max_words: int = Field(default=0, ge=0)
    score: float = Field(default=0.0, ge=0, lt=1)
    score_of: tuple[Label, ...] = ()


class Classifier(BaseModel):
    """The classifier that a pack joins to its rules; exactly one of `weights` and `huggingface`.

    It labels nothing by itself: rules ask for its score, a broad pattern for a high one, so that every label
    has a rule and a place.

    Attributes:
        weights: a file of n-gram weights, beside the pack.
        huggingface: a sequence-classification model: a folder, beside the pack or absolute, or
            "owner/name@<commit>"; a name without a commit is refused, since it can change without notice.
        labels: for `huggingface`, the model's own names of classes -> labels; its others count as "none".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str | None = None
    huggingface: str | None = None
    labels: dict[str, Label] = {}

    @model_validator(mode="after")
    def _has_one_source(self) -> Classifier:
        if (self.weights is None) == (self.huggingface is None):
            raise ValueError("[classifier] needs either 'weights' or 'huggingface'")
        if self.weights is not None and self.labels:
            raise ValueError("[classifier] 'labels' is for 'huggingface'; a weights file names its own")
        return self


class PackFile(BaseModel):
    """The TOML file: `{fragment}` in a pattern stands for the fragment of that name.

    The order of `rule` is the precedence: the first rule that fires labels the turn.

    Attributes:
        languages: ISO 639-1 codes of the languages that the pack understands; turns in others are
            "undetermined". Empty = languages are not looked at and nothing is undetermined.
        quotations: how far back an open quotation mark counts: to the start of the sentence or of the paragraph.
        shortest: with `languages`, a turn of fewer letters on which no rule fires is "undetermined".
        acts, marks, asked: named patterns of which the classifier's measures are made, see `structure.Structure`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    notes: str = ""
    languages: tuple[str, ...] = ()
    quotations: Literal["sentence", "paragraph"] = "sentence"
    shortest: int = Field(default=0, ge=0)
    classifier: Classifier | None = None
    fragments: dict[str, str] = {}
    acts: dict[str, str] = {}
    marks: dict[str, str] = {}
    asked: dict[str, str] = {}
    rule: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> PackFile:
        for rule in self.rule:
            if self.languages and rule.language not in self.languages:
                raise ValueError(
                    f"rule '{rule.id}' is for the language '{rule.language}', which the pack does not name"
                )
            if rule.score and self.classifier is None:
                raise ValueError(f"rule '{rule.id}' asks for a score, but the pack has no [classifier]")
        return self
