"""Write ``airflow_bedrock/oldest_botocore.json``: our operators' requests, as the oldest supported botocore has them.

The DAG processor checks each request against it at each parse of a DAG file. It is read in a twentieth of the time that
botocore's whole model of the service takes.

usage: pip install --no-deps --target FOLDER botocore==VERSION && python -m scripts.oldest_botocore FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from botocore.loaders import Loader

ROOT = Path(__file__).parents[1]
MADE = ROOT / "airflow_bedrock" / "oldest_botocore.json"
OPERATIONS = {
    "bedrock": (
        "CreateCustomModel",
        "CreateCustomModelDeployment",
        "CreateModelCopyJob",
        "CreateModelCustomizationJob",
        "CreateModelImportJob",
        "CreateModelInvocationJob",
        "CreateProvisionedModelThroughput",
        "DeleteCustomModel",
        "DeleteCustomModelDeployment",
        "DeleteProvisionedModelThroughput",
    ),
    "bedrock-runtime": ("Converse",),
}
ONLY = {"ConverseRequest": {"modelId"}}  # the members that the operators check, where they do not check all
KEPT = {"type", "required", "min", "max", "pattern", "enum", "union", "document"}  # what a check reads


def oldest() -> str:
    """Return the oldest supported version, which boto3 and botocore have in common."""
    found = re.search(r'"boto3>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None  # noqa: S101 - pyproject.toml names it
    return found[1]


def made(loader: Loader) -> str:
    """Return what the file should hold."""
    models = {}
    for service, operations in OPERATIONS.items():
        model = loader.load_service_model(service, "service-2")
        inputs = {name: {"input": {"shape": model["operations"][name]["input"]["shape"]}} for name in operations}
        shapes: dict[str, Any] = {}
        for one in inputs.values():
            _add(shapes, model["shapes"], one["input"]["shape"])
        models[service] = {"operations": inputs, "shapes": shapes}
    return json.dumps(models, separators=(",", ":"), sort_keys=True) + "\n"


def _add(shapes: dict[str, Any], source: dict[str, Any], name: str) -> None:
    """Add a shape and all that it refers to."""
    if name in shapes:
        return
    shape = source[name]
    shapes[name] = kept = {key: value for key, value in shape.items() if key in KEPT}
    parts = {key: shape[key] for key in ("member", "key", "value") if key in shape}
    members = {key: to for key, to in shape.get("members", {}).items() if key in ONLY.get(name, shape["members"])}
    kept |= {key: {"shape": to["shape"]} for key, to in parts.items()}
    if members:
        kept["members"] = {key: {"shape": to["shape"]} for key, to in members.items()}
    for to in (*parts.values(), *members.values()):
        _add(shapes, source, to["shape"])


def main(folder: Path) -> None:
    """Write the file from the botocore in a folder, which must be the oldest one."""
    if not (folder / f"botocore-{oldest()}.dist-info").exists():
        sys.exit(f"{folder} does not have botocore {oldest()}, the oldest that pyproject.toml supports.")
    MADE.write_text(
        made(Loader(extra_search_paths=[str(folder / "botocore" / "data")], include_default_search_paths=False)),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
