import pytest
import torch

from kto_core import TrainingError, generate
from kto_core.data.tokenization import Encoder
from kto_core.models.model_folders import load
from tests.kto_core.toy import GOOD, prompt

PROMPTS = [prompt(topic, i) for i, topic in enumerate(("refund", "invoice", "delivery", "contract", "password") * 3)]
PROMPTS[4] = PROMPTS[4] * 3  # lengths differ, so that batches are padded


def naive(folder, turns, limit):
    model, tokenizer = load(folder)
    (ids,) = Encoder(tokenizer, max_prompt_tokens=512, max_completion_tokens=8).encode_prompts([turns])
    ids, answer = torch.from_numpy(ids).long()[None], []
    with torch.no_grad():
        for _ in range(limit):
            token = model(input_ids=ids).logits[0, -1].argmax()
            if token == tokenizer.eos_token_id:
                break
            answer.append(int(token))
            ids = torch.cat([ids, token.view(1, 1)], dim=1)
    return tokenizer.decode(answer, skip_special_tokens=True)


def test_greedy_answers_are_those_of_one_at_a_time(reference):
    answers = generate(reference, PROMPTS, max_new_tokens=16, batch_size=6)
    assert answers == [naive(reference, turns, 16) for turns in PROMPTS]
    assert len(answers) == len(PROMPTS)


def test_draws_follow_the_seed_and_not_the_batch(reference):
    first = generate(reference, PROMPTS, max_new_tokens=8, temperature=1.0, seed=7, batch_size=4)
    assert first == generate(reference, PROMPTS, max_new_tokens=8, temperature=1.0, seed=7, batch_size=15)
    assert first != generate(reference, PROMPTS, max_new_tokens=8, temperature=1.0, seed=8, batch_size=4)
    assert len(set(first)) > 1


def test_a_cold_temperature_is_greedy(reference):
    cold = generate(reference, PROMPTS[:4], max_new_tokens=8, temperature=1e-4)
    assert cold == generate(reference, PROMPTS[:4], max_new_tokens=8)


def test_progress_and_limits(reference):
    seen = []
    answers = generate(
        reference, PROMPTS, max_new_tokens=2, batch_size=4, report=lambda *call, **_: seen.append(call[:3])
    )
    assert seen[-1] == ("generate", 15, 15)
    assert all(len(answer) <= len(max(GOOD, key=len)) for answer in answers)
    assert generate(reference, []) == []


def test_wrong_asks_are_refused(reference, tmp_path):
    with pytest.raises(TrainingError, match="prompt 1 of 2 has no messages"):
        generate(reference, [PROMPTS[0], []])
    with pytest.raises(TrainingError, match="temperature"):
        generate(reference, PROMPTS, temperature=-1)
    with pytest.raises(TrainingError, match="neither a preset"):
        generate(tmp_path / "nowhere", PROMPTS)
