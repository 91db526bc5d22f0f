"""What each kind of stage does: the adapters between the graph and the layers below.

data (chats to variants), models (base, training), evaluation (items, predictions, scores). They decide nothing
themselves. Invariant: facts depend only on the key; whatever may differ between equal runs goes into telemetry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.plan import Kind
from harness.runner import Execute
from harness.stages.data import DataStages, whole_or_nothing
from harness.stages.evaluation import EvaluationStages
from harness.stages.models import ModelStages
from harness.study.model import Machine, Recipe, Study


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all stages of one command share."""

    study: Study
    study_file: Path
    recipe: Recipe
    pretraining: Recipe | None
    machine: Machine
    data_dir: Path | None
    evaluation: EvaluationStages

    def executions(self) -> Mapping[str, Execute]:
        """Return the function for every kind of stage."""
        data = DataStages(
            study=self.study, study_file=self.study_file, data_dir=self.data_dir, infos=self.evaluation.infos
        )
        models = ModelStages(study=self.study, recipe=self.recipe, pretraining=self.pretraining, machine=self.machine)
        return {
            Kind.CHATS: whole_or_nothing(data.chats),
            Kind.OVERLAP: whole_or_nothing(data.overlap),
            Kind.CLEAN: whole_or_nothing(data.clean),
            Kind.LABEL: whole_or_nothing(data.label),
            Kind.VARIANT: whole_or_nothing(data.variant),
            Kind.EXPOSURE: whole_or_nothing(data.exposure),
            Kind.BASE: models.base,
            Kind.TRAIN: models.train,
            **only(self.evaluation),
        }


def only(evaluation: EvaluationStages) -> Mapping[str, Execute]:
    """Return the functions of the stages that ask and score."""
    return {Kind.ITEMS: evaluation.items, Kind.PREDICT: evaluation.predict, Kind.SCORE: evaluation.score}
