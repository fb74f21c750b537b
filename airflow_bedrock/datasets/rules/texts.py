"""The formats without turns: prompt and completion, a text for continued pre-training, an image with its caption.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html
"""

from __future__ import annotations

import msgspec

from airflow_bedrock.datasets.rules.form import Form, Plain, nothing
from airflow_bedrock.datasets.rules.record import Media, Record, Text


class _PromptCompletion(msgspec.Struct, gc=False):
    prompt: str
    completion: str


class _Pretraining(msgspec.Struct, gc=False):
    input: str


class _Captioned(msgspec.Struct, rename={"image_ref": "image-ref"}):
    image_ref: str
    caption: str


def _read_pair(record: _PromptCompletion) -> Record:
    texts = (Text("user", record.prompt, "$.prompt"), Text("assistant", record.completion, "$.completion"))
    return Record(record.prompt, record.completion, texts=texts)


def _flat_pair(record: _PromptCompletion) -> Plain:
    return record.prompt, record.completion


def _read_text(record: _Pretraining) -> Record:
    return Record("", record.input, texts=(Text("assistant", record.input, "$.input"),))


def _read_caption(record: _Captioned) -> Record:
    media = (Media("image", record.image_ref, where="$.image-ref"),)
    return Record("", record.caption, media, (Text("assistant", record.caption, "$.caption"),))


PROMPT_COMPLETION = Form(
    _PromptCompletion,
    # Recorded from the service (https://github.com/aws-samples/amazon-bedrock-workshop/issues/266); the others follow
    # its pattern.
    '{"prompt": "<input text>", "completion": "<output text>"}',
    nothing,
    _read_pair,
    plain=(_PromptCompletion, _flat_pair),
)
PRE_TRAINING = Form(_Pretraining, '{"input": "<input text>"}', nothing, _read_text)
CAPTION = Form(_Captioned, '{"image-ref": "<S3 URI>", "caption": "<caption>"}', nothing, _read_caption)
