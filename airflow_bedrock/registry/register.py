"""The register of one line of models: which model serves, which served before, and which is being promoted. Pure.

The deployment says which model serves; the register says why. A promotion is recorded before the deployment changes and
confirmed afterwards. :func:`reconciled` settles what a crash left between the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with a time zone: times without one cannot be compared."""

BY_HAND = "not by this registry"
"""``promoted_by`` of a model that was deployed by hand."""

LEASE = timedelta(hours=1)
"""How long a promotion may take before it counts as abandoned, and another one may replace it."""


class NotPromotedError(Exception):
    """The challenger does not take the champion's place; the message says why. Nothing was changed."""


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A model that serves, has served, or is to serve.

    :param model_arn: the custom model's ARN.
    :param period: the period of its data, an ISO 8601 date or time, or the beginning of one, e.g. ``2026-03``.
    :param job_arn: the ARN of the customization job that made it.
    :param dataset: the URI or the digest of its dataset's manifest.
    :param evaluation: the URI of the evaluation that it was promoted for.
    :param promoted_by: the task instance that promoted it, e.g. ``retrain.promote scheduled__2026-03-01``.
    :param promoted_at: when the promotion was confirmed.
    :param approved_by: the person who approved it; None if nobody was asked.
    :param approved_at: when it was approved.
    :param deployment_arn: the deployment that last served it.
    """

    model_arn: str
    period: str | None = None
    job_arn: str | None = None
    dataset: str | None = None
    evaluation: str | None = None
    promoted_by: str | None = None
    promoted_at: Moment | None = None
    approved_by: str | None = None
    approved_at: Moment | None = None
    deployment_arn: str | None = None


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An intent: the version is about to serve.

    :param since: when it was written.
    """

    version: ModelVersion
    since: Moment


class Register(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The register of one line of models.

    :param name: the name of the line, and of its deployment.
    :param deployment_arn: the deployment that callers use; None before the first promotion.
    :param champion: the version that serves; None before the first promotion.
    :param promotion: the version that is about to serve, if any.
    :param previous: the versions that served before, newest first.
    :param rejected: ARNs of models that failed their smoke test or were rolled back.
    :param unfinished: ARNs of models whose promotion exceeded its lease and was replaced by another, and of models that
        the service refused to deploy.
    :param retired: ARNs of models that are deleted, or about to be: they are never promoted again.
    """

    name: str
    deployment_arn: str | None = None
    champion: ModelVersion | None = None
    promotion: Promotion | None = None
    previous: tuple[ModelVersion, ...] = ()
    rejected: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()

    @property
    def candidate(self) -> ModelVersion:
        """The version that is about to serve.

        :raises ValueError: no version is about to serve.
        """
        if self.promotion is None:
            raise ValueError(f"No model is about to serve as {self.name}")
        return self.promotion.version

    @property
    def serving(self) -> list[ModelVersion]:
        """The version that serves, and the one that is about to."""
        return [one for one in (self.champion, self.promotion and self.promotion.version) if one]


def proposed(register: Register, version: ModelVersion, now: datetime, *, compared_with: str | None = None) -> Register:
    """Return the register with the version about to serve.

    :param compared_with: the model that the version was compared with; None if it was not compared.
    :raises NotPromotedError: the champion's period is newer, or it is not the model that the version was compared with;
        or the version has no period, or was rejected before.
    :raises BedrockError: another promotion is in progress; it may have ended by the next try.
    :raises BedrockFatalError: a period is not a date or time.
    """
    if (reason := _reason_against(register, version, compared_with)) is not None:
        raise NotPromotedError(f"{version.model_arn} does not replace the champion of {register.name}: {reason}")
    unfinished = register.unfinished
    if (other := register.promotion) is not None and _is_another(other, version):
        if now - other.since < LEASE:
            raise BedrockError(
                f"{other.version.promoted_by} has been promoting {other.version.model_arn} to {register.name} since "
                f"{other.since:%Y-%m-%d %H:%M} UTC. Nothing was changed; a retry continues when that has ended."
            )
        unfinished = (*unfinished, other.version.model_arn)
    promotion = Promotion(version=version, since=now)
    return msgspec.structs.replace(register, promotion=promotion, unfinished=_without(unfinished, version))


def confirmed(register: Register, deployment_arn: str, now: datetime) -> Register:
    """Return the register with the new version as champion, and the champion as the latest previous version."""
    version = msgspec.structs.replace(register.candidate, promoted_at=now, deployment_arn=deployment_arn)
    return _with_champion(register, version, deployment_arn)


def abandoned(register: Register, *, rejected: bool) -> Register:
    """Return the register without the version that was about to serve.

    :param rejected: whether it failed its smoke test, so that it must not be promoted again.
    """
    where = "rejected" if rejected else "unfinished"
    names = (*getattr(register, where), register.candidate.model_arn)
    return msgspec.structs.replace(register, promotion=None, **{where: tuple(dict.fromkeys(names))})


def reconciled(register: Register, serving: str | None, now: datetime) -> Register:
    """Return the register, corrected by what the deployment serves.

    :param serving: the ARN of the model that the deployment serves; None if there is no deployment.
    """
    champion, promotion = register.champion, register.promotion
    if serving is None or (champion is not None and champion.model_arn == serving):
        return register
    under_way = {promotion.version.model_arn} if promotion else set()
    if serving in {*under_way, *register.unfinished, *register.rejected}:
        return register  # it has not passed its smoke test: its promotion continues, or the champion replaces it
    deployment_arn = register.deployment_arn or ""
    known = next((version for version in register.previous if version.model_arn == serving), None)
    version = known or ModelVersion(model_arn=serving, promoted_by=BY_HAND)
    return _with_champion(
        register, msgspec.structs.replace(version, promoted_at=now, deployment_arn=deployment_arn), deployment_arn
    )


def rolled_back(register: Register, model_arn: str | None, by: str, now: datetime) -> Register:
    """Return the register with an earlier version about to serve again, and the current one rejected.

    A promotion in progress is cancelled: then the champion serves again.

    :param model_arn: the earlier version's model; None for the latest that was not rejected.
    :param by: who rolls back.
    :raises BedrockFatalError: there is no such version.
    """
    under_way = [register.promotion.version.model_arn] if register.promotion else []
    version = _earlier(register, model_arn)
    gone = sorted(one.model_arn for one in register.serving)
    return msgspec.structs.replace(
        register,
        promotion=Promotion(version=msgspec.structs.replace(version, promoted_by=by), since=now),
        rejected=_without((*register.rejected, *gone), version),
        unfinished=_without((*register.unfinished, *under_way), version),
    )


def _without(model_arns: Iterable[str], version: ModelVersion) -> tuple[str, ...]:
    """Return each ARN once, without that of the version."""
    return tuple(arn for arn in dict.fromkeys(model_arns) if arn != version.model_arn)


def _earlier(register: Register, model_arn: str | None) -> ModelVersion:
    candidates = [register.champion] if register.promotion and register.champion else []
    for version in (*candidates, *register.previous):
        if version.model_arn in register.retired:
            continue
        if version.model_arn == model_arn or (model_arn is None and version.model_arn not in register.rejected):
            return version
    what = f"{model_arn} has never served as" if model_arn else "No other model can serve as"
    if register.champion and register.champion.model_arn == model_arn:
        what = f"{model_arn} already serves as"
    if model_arn in register.retired:
        what = f"{model_arn} was retired and no longer serves as"
    if not (register.champion or register.promotion or register.previous):
        what = "The registry has no line of models named"
    raise BedrockFatalError(f"{what} {register.name}: cannot roll back. Nothing was changed.")


def kept(register: Register) -> set[str]:
    """Return the ARNs of the models that must not be deleted: champion, promotion, and what a rollback needs."""
    gone = {*register.rejected, *register.retired}
    candidates = [version.model_arn for version in register.previous if version.model_arn not in gone]
    return {*(one.model_arn for one in register.serving), *candidates[:1]}


def retired(register: Register, model_arns: Iterable[str]) -> Register:
    """Return the register with these models about to be deleted, so that nothing promotes them."""
    return msgspec.structs.replace(register, retired=tuple(dict.fromkeys((*register.retired, *model_arns))))


def start_of(period: str) -> datetime:
    """Return when a period starts.

    :raises BedrockFatalError: it is not an ISO 8601 date or time, nor the beginning of one.
    """
    text = period.strip()
    for completed in (text, f"{text}-01", f"{text}-01-01"):
        try:
            found = datetime.fromisoformat(completed)
        except ValueError:
            continue
        return found.replace(tzinfo=None) if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
    raise BedrockFatalError(
        f"Period {period!r} is not a date or time: cannot tell whether it is newer than the champion's. Nothing was "
        "changed. Use ISO 8601, such as 2026-03 or 2026-03-01T00:00:00."
    )


def _reason_against(register: Register, version: ModelVersion, compared_with: str | None) -> str | None:
    if version.model_arn in register.rejected:
        return "it was rolled back or failed its smoke test before"
    if version.model_arn in register.retired:
        return "it was retired, so it is deleted or about to be"
    latest = _latest_period(register)
    if latest is not None and version.period is None:
        return f"it has no period, and the champion's is {latest}, so it may be older"
    if latest is not None and version.period is not None and start_of(version.period) < start_of(latest):
        return f"its period {version.period} is older than the champion's, {latest}"
    serving = [one.model_arn for one in register.serving]
    if compared_with and register.champion and not {compared_with, version.model_arn} & set(serving):
        return (
            f"it was compared with {compared_with}, but {register.champion.model_arn} serves now. A new run of its "
            "period compares the two, and does not pay for its job again"
        )
    return None


def _latest_period(register: Register) -> str | None:
    """Return the champion's period, or that of the champion before it if this one was deployed by hand without one."""
    for version in (register.champion, *register.previous):
        if version and version.period is not None and version.model_arn not in register.rejected:
            return version.period
    return None


def _is_another(promotion: Promotion, version: ModelVersion) -> bool:
    ours = (version.model_arn, version.promoted_by)
    return (promotion.version.model_arn, promotion.version.promoted_by) != ours


def _with_champion(register: Register, version: ModelVersion, deployment_arn: str) -> Register:
    before = (register.champion, *register.previous) if register.champion else register.previous
    return msgspec.structs.replace(
        register,
        deployment_arn=deployment_arn or register.deployment_arn,
        champion=version,
        promotion=None,
        previous=tuple(one for one in before if one.model_arn != version.model_arn),
    )
