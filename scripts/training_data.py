"""Makes training data of one question and its answer, for accounts on Local Bedrock."""

from __future__ import annotations

import json


def record(question: str = "hello", answer: str = "hello") -> str:
    """Return a line of a training file, in the format of Converse."""
    turns = [{"role": "user", "content": [{"text": question}]}, {"role": "assistant", "content": [{"text": answer}]}]
    return json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": turns}) + "\n"
