"""Write ``airflow_bedrock/base_models.json`` anew from ``base_models.toml``, which is the one to edit.

The DAG processor checks each request against it at each parse of a DAG file: JSON is read in a tenth of the time.

usage: python -m scripts.base_models
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "airflow_bedrock" / "base_models.toml"
MADE = SOURCE.with_suffix(".json")


def made() -> str:
    """Return what the JSON file should hold."""
    return json.dumps(tomllib.loads(SOURCE.read_text(encoding="utf-8")), default=str, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    MADE.write_text(made(), encoding="utf-8")
