"""The choices of a task that prepares data. An operator checks them whenever Airflow parses its DAG file."""

from __future__ import annotations

from enum import StrEnum

from airflow_bedrock.datasets.errors import DatasetError


class RecordFormat(StrEnum):
    """How a record is written; ``base_models.toml`` has the format of each model."""

    CONVERSE = "bedrock-conversation-2024"
    """Amazon Nova, Llama 3.2 and 3.3: the messages of the Converse API."""
    PROMPT_COMPLETION = "prompt-completion"
    """Amazon Titan text, Cohere, Llama 3.1: two strings; no place for a system prompt."""
    CLAUDE = "claude"
    """Anthropic Claude 3 Haiku: messages whose content is a string."""
    PRE_TRAINING = "pre-training"
    """Amazon Titan text, continued pre-training: a text."""
    IMAGE = "image"
    """Amazon Nova Canvas, Titan Image Generator and Multimodal Embeddings: an image on S3 and its caption."""
    REINFORCEMENT = "reinforcement"
    """Amazon Nova 2 Lite, reinforcement fine-tuning: messages, and the grader's fields."""


class OnConflict(StrEnum):
    """What to do with records with the same question and different answers. Those not kept are counted."""

    FIRST = "first"
    """Keep the first."""
    LAST = "last"
    """Keep the last: the newest, if the source is in the order of time."""
    MAJORITY = "majority"
    """Keep the most frequent answer; the first one if several are equally frequent."""
    DROP = "drop"
    """Keep none of them."""
    FAIL = "fail"
    """Write nothing."""


class Split(StrEnum):
    """The three parts of a dataset."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def check_fractions(validation: float, test: float) -> None:
    """Check the fractions of the records for validation and for testing.

    :raises DatasetError: one is outside 0 to 1, or nothing is left for training.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise DatasetError(
            f"validation fraction {validation} and test fraction {test}: "
            "each must be at least 0, and both together less than 1, so that something is left for training"
        )
