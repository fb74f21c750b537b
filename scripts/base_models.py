"""Write ``airflow_bedrock/base_models.json`` from ``base_models.toml``, which is the one to edit.

The TOML file has once what the models of a family, or all distillations, have in common; the JSON file has it for each
model. The DAG processor checks each request against it at each parse of a DAG file: reading JSON takes a tenth of the
time.

usage: python -m scripts.base_models
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "airflow_bedrock" / "base_models.toml"
MADE = SOURCE.with_suffix(".json")


def made() -> str:
    """Return what the JSON file should hold."""
    document = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
    families, distillation = document.pop("family"), document.pop("distillation")
    pairs = distillation.pop("pairs")
    document["models"] = []
    for family in families:
        if other := family.keys() - {"name", "models", "methods"}:
            sys.exit(f"A family has a name, models and methods, and not {', '.join(other)}.")
        for model in family["models"]:
            methods = dict(family.get("methods", {}))
            if its := [pair for pair in pairs if model["id"] in pair["students"]]:
                methods["DISTILLATION"] = {
                    **distillation,
                    "form": "distillation",
                    "regions": sorted({region for pair in its for region in pair["regions"]}),
                    "teachers": [pair["teacher"] for pair in its],
                    "hyperparameters": methods["FINE_TUNING"]["hyperparameters"],
                }
            document["models"].append({**model, "family": family["name"], "methods": methods})
    return json.dumps(document, default=str, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    MADE.write_text(made(), encoding="utf-8")
