"""Which stages a job has, and what each probably costs; for the time that is left of the whole job.

A cost of 1 is one pass over all patterns, forward only.
"""

from __future__ import annotations

from ptycho_dist.factory.payload import InferencePayload, TrainingPayload
from ptycho_dist.inference.run import PREDICTION, STITCHING

TRAINING, REFINEMENT, EVALUATION = "training", "refinement", "evaluation"
EVALUATION_OF_NETWORK = "evaluation of the network"
_EPOCH, _ITERATION, _STITCHING, _EVALUATION = 3.0, 2.0, 0.3, 2.0
"""A gradient costs two passes more; an evaluation draws, too."""

Costs = dict[str, float]


def of_training(payload: TrainingPayload) -> Costs:
    """Cost of a training by stage."""
    return {TRAINING: _EPOCH * payload.training_config.epochs * payload.model_config.stages}


def of_prediction(payload: InferencePayload | TrainingPayload) -> Costs:
    """Cost of a prediction by stage."""
    return {PREDICTION: float(payload.model_config.stages), STITCHING: _STITCHING}


def of_evaluation(name: str = EVALUATION) -> Costs:
    """Cost of an evaluation."""
    return {name: _EVALUATION}


def of_refinement(iterations: int) -> Costs:
    """Cost of a refinement."""
    return {REFINEMENT: _ITERATION * iterations}


def of_reconstruction(payload: TrainingPayload, iterations: int) -> Costs:
    """Cost of a reconstruction by stage."""
    network = of_training(payload) | of_prediction(payload)
    if not iterations:
        return network | of_evaluation()
    return network | of_evaluation(EVALUATION_OF_NETWORK) | of_refinement(iterations) | of_evaluation()
