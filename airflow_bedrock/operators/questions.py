"""The base of the operators that ask models held-out questions and share the stored answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_bedrock import configuration, spend
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, member, named, optional, real, rendered, text, whole
from airflow_bedrock.operators.spending import SpendingOperator
from airflow_bedrock.uris import file_uri, join

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bill import Rate
    from airflow_bedrock.evaluation.inference import Inference, Model
    from airflow_bedrock.evaluation.records import HeldOutRecords
    from airflow_bedrock.storage import Storage

_MODEL = named(member("bedrock-runtime", "Converse", "modelId", "the id of a model, or an ARN that Converse takes"))


def model(value: Any) -> str:
    """Accept what Converse accepts as a model."""
    if isinstance(value, str) and ":custom-model/" in value:
        raise ValueError(
            "must be the ARN of a deployment or provisioned throughput: a custom model itself cannot be called"
        )
    model_id: str = _MODEL(value)
    return model_id


def _mapping(value: Any) -> dict[str, Any]:
    """Accept a mapping."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping")
    return dict(value)


class QuestionsOperator(SpendingOperator):
    """Ask models held-out questions. A question with an answer under ``answers_uri`` is not asked or paid for again.

    Every parameter is templated.

    :param answers_days: days after which an answer is no longer used, and is deleted.
    :param max_records: maximum number of records to ask, chosen by their hash: the same file gives the same ones. None
        asks all.
    :param max_tokens: maximum tokens of an answer; a longer one is cut off, and the report counts it by its stop
        reason.
    :param temperature: 0 (the likeliest answer) to 1; None for models that take no temperature.
    :param inference_config: other members of Converse's ``inferenceConfig``: ``topP``, ``stopSequences``.
    :param additional_model_request_fields: Converse's ``additionalModelRequestFields``.
    :param max_cost: US dollars: if the questions without an answer may cost more, or no price is known, the task fails
        before it asks the first one. Prices are those of the package and of ``[bedrock] prices``.
    :param kms_key_id: id, ARN or alias of the KMS key that encrypts what is written to S3; by default the bucket's.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "test_data_uri": file_uri,
        "output_uri": file_uri,
        "answers_uri": optional(file_uri),
        "answers_days": rendered(whole(1)),
        "max_records": optional(rendered(whole(1))),
        "max_tokens": rendered(whole(1)),
        "temperature": optional(rendered(real(0, 1))),
        "inference_config": _mapping,
        "additional_model_request_fields": optional(_mapping),
        "max_cost": optional(rendered(real(0))),
        "kms_key_id": optional(named(text)),
    }
    template_fields: Sequence[str] = (*SpendingOperator.template_fields, *rules)
    _in_batches: ClassVar[bool] = False
    """Whether the models answer in batch inference jobs, which have their own prices."""

    def __init__(
        self,
        *,
        test_data_uri: str,
        output_uri: str,
        answers_uri: str | None = None,
        answers_days: int = 90,
        max_records: int | str | None = None,
        max_tokens: int | str = 64,
        temperature: float | None = 0.0,
        inference_config: Mapping[str, Any] | None = None,
        additional_model_request_fields: Mapping[str, Any] | None = None,
        max_cost: float | str | None = None,
        kms_key_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.test_data_uri = test_data_uri
        self.output_uri = output_uri
        self.answers_uri = answers_uri
        self.answers_days = answers_days
        self.max_records = max_records
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.inference_config = inference_config or {}
        self.additional_model_request_fields = additional_model_request_fields
        self.max_cost = max_cost
        self.kms_key_id = kms_key_id

    def _rate(self, called: Model, answered_by: str) -> Rate | None:
        """Return the price of a token; None if unknown.

        :param answered_by: the model that answers, not the id that is called.
        """
        from airflow_bedrock.converse import EmbeddingModel
        from airflow_bedrock.evaluation.bill import Rate

        if ":provisioned-model/" in called.model_id and not self._in_batches:
            return Rate(0.0, 0.0)  # it is billed by the hour, used or not
        kind = ("custom_" if ":custom-model/" in answered_by else "") + ("batch_" if self._in_batches else "")
        parts = ("input",) if isinstance(called, EmbeddingModel) else ("input", "output")
        figures: Any = [f"{kind}{part}" for part in parts]
        table, region = spend.pricing.known_prices(), self.hook.conn_region_name
        found = [price for figure in figures if (price := table.find(answered_by, figure, region))]
        return Rate(*(float(price.cost(1)) for price in found)) if len(found) == len(figures) else None

    def _inferences(
        self, arguments: Mapping[str, Any], storage: Storage, folder: Path, stack: ExitStack, **limits: Any
    ) -> Callable[[str, Model], Inference]:
        """Return a function that makes the inference of a model, with the answers under ``answers_uri``.

        :param folder: the folder of the answers while the task runs.
        :param limits: the other arguments of each inference.
        """
        from airflow_bedrock.evaluation.answer_store import Answers, Store, key_of
        from airflow_bedrock.evaluation.inference import Inference

        answers_uri = arguments["answers_uri"] or join(self.output_uri, "answers")
        storage.check_folder(answers_uri)  # otherwise the first answers would be paid for and lost
        kept = storage.folder(answers_uri)
        store = Store(kept, configuration.environment(), arguments["answers_days"])
        timeout = configuration.no_response_timeout()
        etag = lru_cache(maxsize=100_000)(storage.etag)

        def keys(model_arn: str, request: Mapping[str, Any]) -> str:
            return key_of(model_arn, request, map(etag, _media_of(request)))

        def inference(name: str, model: Model) -> Inference:
            answers, rate = stack.enter_context(closing(Answers(folder / name))), partial(self._rate, model)
            return Inference(model, answers, store, keys=keys, rate=rate, no_response_timeout=timeout, **limits)

        return inference

    def _check_max_cost(self, questions: int, most: float, unpriced: Sequence[str], max_cost: float | None) -> None:
        """Log what the questions without an answer may cost at most, and check it against ``max_cost``.

        :param most: US dollars, about.
        :param unpriced: what has no known price.
        :raises BedrockFatalError: it exceeds ``max_cost``, or is unknown.
        """
        self.log.info("Questions to ask: %d, for at most about %.4f USD", questions, most)
        if unpriced:
            self.log.info("No price is known for %s", ", ".join(unpriced))
        if max_cost is None or not questions:
            return
        if unpriced:
            from airflow_bedrock.prices import HOW_TO_GIVE_ONE

            raise BedrockFatalError(
                f"max_cost cannot be enforced: no price is known for {unpriced[0]}. {HOW_TO_GIVE_ONE}"
            )
        if most > max_cost:
            raise BedrockFatalError(
                f"{questions} questions may cost up to about {most:.4f} USD, more than max_cost, {max_cost:g} USD. "
                "Raise max_cost, or lower max_records or max_tokens."
            )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Convert the evaluation's errors to errors of the task.

        :param what: what happened to the questions and the bill.
        """
        import sqlite3  # here, since a DAG file does not need it

        from airflow_bedrock.evaluation.bill import LimitReachedError
        from airflow_bedrock.evaluation.inference import ModelChangedError

        try:
            yield
        except BedrockError as error:
            raise type(error)(f"{str(error).rstrip('.')}. {what}") from error.__cause__
        except ModelChangedError as error:
            raise BedrockError(f"The model behind {error} was replaced during the task. {what}") from None
        except LimitReachedError as error:
            raise BedrockFatalError(f"{error}. {what}") from None
        except (OSError, sqlite3.Error) as error:
            raise BedrockError(f"A temporary file could not be written or read: {error}. {what}") from error
        except ValueError as error:
            raise BedrockFatalError(f"Cannot evaluate on {self.test_data_uri}: {error}. {what}") from None

    def _held_out(self, arguments: Mapping[str, Any], storage: Storage, copy: Path) -> HeldOutRecords:
        """Fetch the held-out records, and return those to ask.

        :param copy: the path for a copy of an object on S3.
        """
        from airflow_bedrock.evaluation.records import HeldOutRecords

        path = storage.fetch(self.test_data_uri, copy)
        return HeldOutRecords(path, _parameters(arguments), arguments["max_records"])


def _parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are the same in all requests."""
    config = {"maxTokens": arguments["max_tokens"], **arguments["inference_config"]}
    if arguments["temperature"] is not None:
        config["temperature"] = arguments["temperature"]
    more = arguments["additional_model_request_fields"]
    return {"inferenceConfig": config, **({"additionalModelRequestFields": more} if more else {})}


def _media_of(request: Any) -> Iterator[str]:
    """Yield the S3 URIs in a request."""
    if isinstance(request, Mapping):
        if isinstance(location := request.get("s3Location"), Mapping) and isinstance(location.get("uri"), str):
            yield location["uri"]
        for value in request.values():
            yield from _media_of(value)
    elif isinstance(request, list):
        for value in request:
            yield from _media_of(value)
