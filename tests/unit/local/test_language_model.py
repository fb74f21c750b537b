"""The language model really learns: from its data, by its hyperparameters, the same way each time."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean

import botocore.session
import pytest

from airflow_bedrock.local.learning.model import Answer, LanguageModel, untrained_answer
from airflow_bedrock.local.learning.training import (
    Batch,
    Example,
    Schedule,
    Step,
    fingerprint,
    loss_of,
    token_limit,
    train,
)

WORDS = {
    "dynamodb": ["table", "item", "key", "throughput", "attribute"],
    "s3": ["bucket", "object", "upload", "storage", "acl"],
    "bedrock-runtime": ["model", "prompt", "converse", "inference", "tokens"],
}


def labelled(count: int, seed: int = 0) -> list[Example]:
    """Make records whose answer follows from the words of the question."""
    chance = random.Random(seed)  # noqa: S311  # test data
    records = []
    for _ in range(count):
        label = chance.choice(sorted(WORDS))
        words = chance.choices(WORDS[label], k=3) + chance.choices(["create", "the", "returns", "of", "a"], k=4)
        chance.shuffle(words)
        records.append(Example(" ".join(words), label))
    return records


def trained(examples: list[Example], schedule: Schedule) -> tuple[LanguageModel, list[Step]]:
    prompts, completions = [one.prompt for one in examples], [one.completion for one in examples]
    model = LanguageModel.untrained(prompts, completions, fingerprint(examples))
    return model, list(train(model, examples, schedule))


def accuracy(model: LanguageModel, examples: list[Example]) -> float:
    return sum(model.complete(one.prompt, 20).text == one.completion for one in examples) / len(examples)


def test_first_loss_is_that_of_guessing_and_falls() -> None:
    """Before the first update every token is as likely as any other; training brings the loss far below that."""
    model, steps = trained(labelled(300), Schedule(epochs=2, warmup_steps=10))
    assert steps[0].loss == pytest.approx(math.log(len(model.vocabulary)))
    assert mean([step.loss for step in steps[-20:]]) < 0.1 * steps[0].loss


def test_unseen_questions_are_answered() -> None:
    """It generalizes: questions that were not in the training data get the right answer."""
    model, _ = trained(labelled(300), Schedule(epochs=2, warmup_steps=10))
    assert accuracy(model, labelled(100, seed=1)) > 0.9


SERVICES = ("athena", "dynamodb", "ecs", "eks", "kms", "lambda", "s3", "sns", "sqs", "stepfunctions")


def operations() -> list[Example]:
    """Real text: the first words of the documentation of AWS operations, and the service of each."""
    loader = botocore.session.get_session().get_component("data_loader")
    examples = []
    for service in SERVICES:
        for operation in loader.load_service_model(service, "service-2")["operations"].values():
            text = re.sub(r"<[^>]+>|\s+", " ", operation.get("documentation", ""))
            examples.append(Example(text[:300], service))
    random.Random(0).shuffle(examples)  # noqa: S311  # test data
    return examples


def test_real_text_is_classified_after_two_epochs() -> None:
    """With the defaults of Nova, it names the service of most AWS operations that it has not seen."""
    examples = operations()
    split = len(examples) * 4 // 5
    model, _ = trained(examples[:split], Schedule(epochs=2, warmup_steps=10))
    assert accuracy(model, examples[split:]) > 0.85


def test_same_data_gives_the_same_model() -> None:
    """Training twice on the same data gives the same losses and weights, and other data gives others."""
    first, steps = trained(labelled(60), Schedule(epochs=1))
    again, same_steps = trained(labelled(60), Schedule(epochs=1))
    other, _ = trained(labelled(60, seed=2), Schedule(epochs=1))
    assert steps == same_steps
    assert (first.output == again.output).all()
    assert (first.bias != other.bias).any()


def test_more_epochs_learn_more() -> None:
    """The loss on held-out data after three epochs is lower than after one."""
    held_out = labelled(100, seed=3)
    losses = []
    for epochs in (1, 3):
        model, steps = trained(labelled(40), Schedule(epochs=epochs))
        assert len(steps) == epochs * 40
        losses.append(loss_of(model, Batch.of(model, held_out, 16)))
    assert losses[1] < losses[0]


def test_learning_rate_matters() -> None:
    """A tenth of the default learning rate learns less; none at all learns nothing."""
    last = {}
    for rate in (0.0, 0.1, 1.0):
        _, steps = trained(labelled(100), Schedule(epochs=1, learning_rate=rate))
        last[rate] = mean([step.loss for step in steps[-10:]])
    assert last[1.0] < last[0.1] < last[0.0]
    assert last[0.0] == pytest.approx(steps[0].loss)


def test_warmup_begins_slowly() -> None:
    """With a warmup the first steps change less than without one."""
    _, cold = trained(labelled(100), Schedule(epochs=1, warmup_steps=100))
    _, hot = trained(labelled(100), Schedule(epochs=1))
    assert mean([step.loss for step in hot[:20]]) < mean([step.loss for step in cold[:20]])


def test_long_answers_are_reproduced_exactly() -> None:
    """A few answers of whole sentences, odd spaces and line ends included, are learnt by heart."""
    examples = [
        Example(f"Tell me about {name}.", f"{name} is  a service;\nit costs {cost} USD.\n")
        for name, cost in [("Glue", 1), ("Athena", 2), ("Lambda", 3), ("Batch", 4)]
    ]
    model, _ = trained(examples, Schedule(epochs=30))
    assert [model.complete(one.prompt, 50).text for one in examples] == [one.completion for one in examples]


def test_tiny_data_is_overfitted() -> None:
    """Answers that do not follow from the questions are learnt by heart, and the loss on others grows."""
    chance = random.Random(5)  # noqa: S311  # test data
    examples = [Example(one.prompt, chance.choice(sorted(WORDS))) for one in labelled(40)]
    training, held_out = examples[:20], examples[20:]
    model = LanguageModel.untrained([one.prompt for one in training], sorted(WORDS), "seed")
    losses = [
        loss_of(model, Batch.of(model, held_out, 16))
        for step in train(model, training, Schedule(epochs=10))
        if step.ends_epoch
    ]
    assert accuracy(model, training) == 1.0
    assert losses[-1] > min(losses)


def test_text_without_a_prompt_is_learnt() -> None:
    """Continued pre-training: with empty prompts it learns which words follow which."""
    examples = [Example("", "the cat sat on the mat and the dog lay on the rug")] * 10
    model, steps = trained(examples, Schedule(epochs=10))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert model.complete("", 20).text == examples[0].completion


def test_answer_is_cut_off_at_the_limit() -> None:
    """An answer longer than allowed is cut off, and says so."""
    examples = [Example("count", "one two three four")] * 8
    model, _ = trained(examples, Schedule(epochs=20))
    assert model.complete("count", 2) == Answer("one two", 2, ended=False)
    assert model.complete("count", 10) == Answer("one two three four", 4, ended=True)


def test_rare_words_are_spelled() -> None:
    """A word outside the vocabulary is learnt letter by letter."""
    model = LanguageModel.untrained(["p"], ["common common rare"], "seed")
    model = replace(model, vocabulary=["", "common", " common", " ", "r", "a", "e"])
    said = "".join(model.vocabulary[token] for token in model.encode_completion("common rare", 50))
    assert said == "common rare"
    assert len(model.encode_completion("common rare", 50)) == 7


def test_saved_model_answers_the_same(tmp_path: Path) -> None:
    """A model that was written to a file and read again has the same words and weights."""
    model, _ = trained(labelled(30), Schedule(epochs=1))
    model.save(tmp_path / "model.npz")
    loaded = LanguageModel.load(tmp_path / "model.npz")
    assert (loaded.features, loaded.vocabulary) == (model.features, model.vocabulary)
    assert (loaded.prompt == model.prompt).all()
    assert loaded.complete("bucket object", 5) == model.complete("bucket object", 5)


def test_question_without_a_known_word_is_answered() -> None:
    """A question of which no word is known gets some answer all the same."""
    model, _ = trained(labelled(30), Schedule(epochs=1))
    assert model.complete("xyzzy", 5).text in WORDS


@pytest.mark.parametrize(("records", "limit"), [(1, 256), (1_000, 256), (10_000, 40), (100_000, 16)])
def test_completions_are_cut_for_big_data(records: int, limit: int) -> None:
    """The more records there are, the fewer tokens of each are learnt."""
    assert token_limit(records) == limit


@pytest.mark.parametrize(("records", "batch", "steps"), [(8, 1, 16), (1_000, 4, 500), (20_000, 64, 626)])
def test_number_of_steps_is_sensible(records: int, batch: int, steps: int) -> None:
    """There are some hundred steps, whatever the number of records, unless there are very few."""
    schedule = Schedule(epochs=2)
    assert (schedule.batch(records), schedule.steps(records)) == (batch, steps)


def test_base_model_says_a_word_of_the_question() -> None:
    """What has learnt nothing says an arbitrary word of the question: the same each time, another for another model."""
    question = "Which service creates a table? Say dynamodb or s3 or lambda or glue or athena or batch."
    answers = {untrained_answer(f"amazon.model-{number}", question).text for number in range(20)}
    assert len(answers) > 3
    assert all(answer in question for answer in answers)
    assert untrained_answer("amazon.model-1", question) == untrained_answer("amazon.model-1", question)
    assert untrained_answer("amazon.model-1", " ") == Answer("", 0, ended=True)


def test_unknown_words_do_not_make_the_answer_repeat() -> None:
    """A prompt with one known word among unknown ones is answered once: the word weighs no more than in training."""
    chance = random.Random(0)  # noqa: S311  # test data
    own = {label: [f"{label}word{n}" for n in range(6)] for label in ("go", "wait", "stop")}
    shared = [f"common{n}" for n in range(20)]

    def record(number: int) -> Example:
        label = sorted(own)[number % 3]
        words = chance.sample(own[label], 2) + chance.sample(shared, 8) + [f"noise{chance.randrange(10_000)}"]
        return Example(" ".join(chance.sample(words, len(words))), label)

    model, _ = trained([record(number) for number in range(1_000)], Schedule(epochs=2))
    for word in [*own["go"], *own["wait"], *own["stop"], *shared]:
        for prompt in (word, f"{word} unheard", f"none of these was ever {word} seen before"):
            answer = model.complete(prompt, 64)
            assert answer.ended, (prompt, answer.text)
            assert answer.text in own


def test_length_of_what_is_encoded_counts_unknown_words() -> None:
    """A prompt of the usual kind has length 1; what the model does not know takes its share of that."""
    model = LanguageModel.untrained(["red cat", "blue dog", "red dog"], ["a"], "seed")
    lengths = [
        float((model.encode_prompt(prompt)[1] ** 2).sum()) ** 0.5 for prompt in ("red cat", "red", "red axolotl")
    ]
    assert lengths[0] == pytest.approx(1, abs=0.3)
    assert lengths[2] < lengths[0]
    assert lengths[1] < lengths[0]
    assert model.encode_prompt("nothing known")[0] == []


def test_training_goes_on_from_another_model() -> None:
    """A model that is extended keeps what it knows, and learns what is new; the first one stays as it was."""
    first, _ = trained(labelled(300), Schedule(epochs=2))
    before = first.output.copy()
    new = [Example(f"rotate the {word} now", "kms") for word in ("key", "cipher", "secret") for _ in range(20)]
    more = new + labelled(60)
    second = first.extended([one.prompt for one in more], [one.completion for one in more], "seed")
    assert second.complete("table item throughput", 5) == first.complete("table item throughput", 5)
    assert accuracy(second, labelled(50, seed=2)) > 0.9
    list(train(second, more, Schedule(epochs=2)))
    assert second.complete("rotate the cipher", 5).text == "kms"
    assert accuracy(second, labelled(50, seed=2)) > 0.9
    assert (first.output == before).all()
    assert "kms" not in first.vocabulary
