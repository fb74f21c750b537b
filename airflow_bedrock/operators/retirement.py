"""Delete the models of a line that are no longer needed, and report what that saves a month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import registry, spend
from airflow_bedrock.operators.arguments import Rule, flag, named, real, rendered, text, whole
from airflow_bedrock.operators.registry import RegistryOperator

if TYPE_CHECKING:
    from airflow_bedrock.prices import Prices


class BedrockRetireModelsOperator(RegistryOperator):
    """List the custom models of a line that nobody needs and their monthly cost; with ``delete``, delete them.

    It considers only models that a task of the DAG has made under the name, by their tags (``tag_resources=True``). It
    keeps the champion, a model that is being promoted, the model that a rollback needs, the newest ones, young ones,
    those for which a gate has asked for approval, those with the tag ``airflow-bedrock/keep``, and those used by a
    deployment or provisioned throughput that was not made for them. It deletes the others, each after its own
    deployments and provisioned throughput. If no model has been promoted, it deletes none.

    Returns (XCom) a mapping: ``retired``, the models that were, or would be, deleted: each ``{model_arn, name}``;
    ``kept``: each ``{model_arn, reason}``; ``usd_a_month``: what that saves; ``without_price``: what has no price;
    ``dry_run``.

    It needs bedrock:ListCustomModels, ListCustomModelDeployments, ListProvisionedModelThroughputs, ListTagsForResource,
    and DeleteCustomModel, DeleteCustomModelDeployment, DeleteProvisionedModelThroughput.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_DeleteCustomModel.html

    Every parameter is templated.

    :param custom_model_name: ``custom_model_name`` of the task that makes the models. (default:
        ``deployment_name``)
    :param models_dag_id: the DAG that makes the models. (default: this DAG)
    :param keep_last: number of the newest models to keep.
    :param keep_younger_than: keep models that are, or whose deployment is, younger than this, in seconds: another run
        may be evaluating them. (default: 4 days, a day more than the gate's ``approval_timeout``)
    :param delete: delete them; False is a dry run, which only lists them. (default: False)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "custom_model_name": named(text),
        "models_dag_id": named(text),
        "keep_last": rendered(whole(0)),
        "keep_younger_than": rendered(real(0)),
        "delete": flag,
    }
    template_fields: Sequence[str] = (*RegistryOperator.template_fields, *rules)

    def __init__(
        self,
        *,
        deployment_name: str,
        custom_model_name: str | None = None,
        models_dag_id: str | None = None,
        keep_last: int = 3,
        keep_younger_than: float = 4 * 24 * 60 * 60,
        delete: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(deployment_name=deployment_name, **kwargs)
        self.custom_model_name = custom_model_name if custom_model_name is not None else deployment_name
        self.models_dag_id = models_dag_id if models_dag_id is not None else self.dag_id
        self.keep_last = keep_last
        self.keep_younger_than = keep_younger_than
        self.delete = delete
        self._check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Retire the models, or list those that would be retired.

        :raises BedrockError: another task changed the registry, some model could not be deleted, or a transient error
            occurred; a retry continues.
        :raises BedrockFatalError: the service rejected a call.
        """
        given = self._checked()
        known = spend.pricing.known_prices()  # before anything is deleted: the task fails if they cannot be read
        name, delete = given["deployment_name"], given["delete"]
        retirer = self.hook.retirer(
            dag_id=given["models_dag_id"],
            model_name=given["custom_model_name"],
            keep=registry.retirement.Keep(
                last=given["keep_last"], younger_than=timedelta(seconds=given["keep_younger_than"])
            ),
            delay=given["waiter_delay"],
            max_polls=given["waiter_max_attempts"],
        )
        plan = retirer.retire(name) if delete else retirer.plan(name)[0]
        return self._reported(plan, known, dry_run=not delete)

    def _reported(self, plan: registry.retirement.Plan, known: Prices, *, dry_run: bool) -> dict[str, Any]:
        saved, unknown = plan.savings(known, self.hook.conn_region_name)
        for model_arn, reason in plan.kept.items():
            self.log.info("%s is kept: %s", model_arn, reason)
        for model in plan.retired:
            users = ", ".join(f"{use.resource.kind} {use.found.name}" for use in model.uses)
            outcome = "would be retired" if dry_run else "was retired"
            self.log.info("%s %s%s", model.arn, outcome, f" with {users}" if users else "")
        self.log.info(
            "%d models %s, which saves %.2f USD a month%s",
            len(plan.retired),
            "would be retired" if dry_run else "were retired",
            saved,
            f", plus what has no known price: {', '.join(unknown)}" if unknown else "",
        )
        return {
            "retired": [{"model_arn": model.arn, "name": model.name} for model in plan.retired],
            "kept": [{"model_arn": model_arn, "reason": reason} for model_arn, reason in plan.kept.items()],
            "usd_a_month": float(round(saved, 2)),
            "without_price": unknown,
            "dry_run": dry_run,
        }
