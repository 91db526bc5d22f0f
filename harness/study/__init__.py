"""Study and recipe files: what is compared, and how it is trained."""

from harness.study.model import (
    Base,
    BaseKind,
    Clean,
    Estimate,
    Evaluation,
    Machine,
    Mix,
    Recipe,
    Source,
    SourceKind,
    Study,
    Treatment,
    Variant,
)
from harness.study.parse import load_recipe, load_study

__all__ = [
    "Base",
    "BaseKind",
    "Clean",
    "Estimate",
    "Evaluation",
    "Machine",
    "Mix",
    "Recipe",
    "Source",
    "SourceKind",
    "Study",
    "Treatment",
    "Variant",
    "load_recipe",
    "load_study",
]
