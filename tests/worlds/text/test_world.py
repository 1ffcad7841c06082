"""The world of text: the same turn gives the same rollout, names are sample ids, and text goes round unchanged."""

import random
import warnings
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from accord.config import SettingsError
from accord.protocols import Completion, Sampling
from accord.records import Demonstration, Preference
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.tokenizer import word_level
from accord.worlds.text.world import TextWorld

from .made import asked, said, tokenizer

LEXICON = ["where", "who", "is", "the", "fox", "dog", "?", "here", "there", "he", "gone"]


class Babbler:
    """Keeps the Generator's promise with drawn numbers: an answer depends on seed, prompt and index alone."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens, self.seen = list(tokens), []

    def generate(self, prompts, sampling):
        self.seen.append(sampling)
        made = []
        for number, prompt in enumerate(prompts):
            for index in range(sampling.count):
                draw = random.Random(f"{sampling.seed} {list(prompt)} {index}")
                length = draw.randint(1, sampling.max_tokens)
                finished = length < sampling.max_tokens
                tokens = [draw.choice(self.tokens) for _ in range(length)]
                if finished:
                    tokens[-1] = sampling.stop[0]
                logs = tuple(-draw.random() for _ in tokens)
                made.append(Completion(number, index, tuple(tokens), logs, finished))
        draw.shuffle(made)  # a faster generator answers in whatever order
        return made

    def load(self, weights, version):
        pass


def world(words=None, count=7, **values):
    words = words or word_level(LEXICON)
    encoder = Encoder(words, EncoderSettings(limit=64, answer_limit=16))
    prompts = [asked(f"where is the fox {'? ' * i}".strip(), id=f"p{i}") for i in range(count)]
    plain = [i for i in range(len(words)) if i not in words.all_special_ids]
    options = {"sampling": Sampling(max_tokens=8, count=3), "batch": 3, "seed": 5, "version": "v", **values}
    return TextWorld(encoder, prompts, Babbler(plain), **options)


def same(one, two):
    return one.names == two.names and all(torch.equal(v, two.tensors()[k]) for k, v in one.tensors().items())


def test_a_rollout_is_what_the_generator_drew():
    here = world()
    made = here.collect(None)
    prompts = here.asked(0)
    assert made.observation_length.tolist() == [len(here.encoder.prompt(p.content)) for p in prompts]
    assert made.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    ids = [made.observation[g, : made.observation_length[g]].tolist() for g in range(3)]
    drawn = {(c.prompt, c.index): c for c in Babbler(here.generator.tokens).generate(ids, here.generator.seen[0])}
    for row in range(9):
        wanted, length = drawn[row // 3, row % 3], int(made.length[row])
        assert made.action[row, :length].tolist() == list(wanted.tokens)
        assert made.logprob[row, :length].tolist() == pytest.approx(wanted.logprobs)
        assert not made.logprob[row, length:].any()
        assert bool(made.finished[row]) == wanted.finished
        assert made.done[row].nonzero()[:, 0].tolist() == [length - 1]
    assert made.mask.equal(made.present)
    assert made.finished.any()
    assert not made.finished.all()


def test_a_resumed_world_goes_on_as_the_undisturbed_one():
    steady, resumed = world(), world()
    rollouts = [steady.collect(None) for _ in range(6)]
    resumed.load_state_dict({**world().state_dict(), "turn": 4})
    assert same(resumed.collect(None), rollouts[4])
    assert same(resumed.collect(None), rollouts[5])
    assert resumed.state_dict() == steady.state_dict() == {"turn": 6}
    assert not same(world(seed=6).collect(None), rollouts[0])


def test_prompts_that_have_no_room_are_told_once():
    words = word_level(LEXICON)
    encoder = Encoder(words, EncoderSettings(limit=24, answer_limit=16))
    prompts = [asked(f"where is the fox {'? ' * (9 * (i % 2))}".strip(), id=f"p{i}") for i in range(6)]
    made = TextWorld(encoder, prompts, Babbler(range(3, 9)), Sampling(max_tokens=8, count=1), 6, 5, "v")
    with pytest.warns(UserWarning, match=r"3 of the first 6 prompts lost .* 16 tokens encode.limit=24 leaves 8"):
        made.collect(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.collect(None)
        world().collect(None)


def test_each_epoch_asks_every_prompt_and_in_another_order():
    here = world(count=6)
    epochs = [[p.id for turn in (2 * e, 2 * e + 1) for p in here.asked(turn)] for e in range(3)]
    assert all(sorted(epoch) == sorted(p.id for p in here.prompts) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert all(len({p.id for p in world(count=4).asked(turn)}) == 3 for turn in range(9))


def test_every_turn_has_a_seed_of_its_own():
    here = world(count=3)
    for _ in range(4):
        here.collect(None)
    assert len({sampling.seed for sampling in here.generator.seen}) == 4


def test_records_carry_the_rows_names_and_where_they_came_from():
    here = world()
    first, second = here.collect(None), here.collect(None)
    kept = here.keep(second)
    assert [sample.id for _, sample in kept] == list(second.names)
    assert [sample.finished for _, sample in kept] == second.finished.tolist()
    assert {sample.version for _, sample in kept} == {"v"}
    assert [(prompt.id, sample.sampling["index"]) for prompt, sample in kept] == [
        (prompt.id, index) for prompt in here.asked(1) for index in range(3)
    ]
    assert len(set(first.names) | set(second.names)) == 18
    fresh = world()
    fresh.load_state_dict(here.state_dict())
    index = torch.tensor([4, 0])
    assert [s.id for _, s in fresh.keep(first.rows(index))] == [first.names[4], first.names[0]]
    assert fresh.keep(first.rows(index)) == [here.keep(first)[i] for i in (4, 0)]
    with pytest.raises(KeyError, match="not collected by this world"):
        world().keep(replace(second, names=("x",) * 9))


def test_text_goes_round_to_the_same_tokens_with_whole_words():
    here = world()
    for _ in range(5):
        made = here.collect(None)
        again = here.encoder.segment(here.keep(made), scoring=True)
        assert again.names == made.names
        for row in range(len(made)):
            assert again.action[row, : again.length[row]].tolist() == made.action[row, : made.length[row]].tolist()
        assert torch.equal(again.observation, made.observation)
        assert here.agreement(made) == 1


def test_the_share_of_other_spellings_is_told_for_pieces_of_words():
    words = tokenizer()
    here = world(words=words)
    made = here.collect(None)
    kept = here.keep(made)
    shares = []
    for row, (_, sample) in enumerate(kept):
        text = sample.content.messages[0].content + ("<eos>" if sample.finished else "")
        shares.append(
            words(text, add_special_tokens=False)["input_ids"] == made.action[row, : made.length[row]].tolist()
        )
    assert here.agreement(made) == pytest.approx(sum(shares) / len(shares))
    assert here.agreement(made) < 1  # babble is rarely spelt as the tokenizer would


def test_beliefs_and_demonstrations_are_found_and_encoded():
    ask = asked("who is the fox", id="far")
    a, b = said(ask, "he", id="a"), said(ask, "the dog", id="b")
    far = {r.id: r for r in (ask, a, b)}
    here = world(lookup=lambda ids: {i: far[i] for i in ids if i in far})
    pairs = here.compared([Preference(prompt="far", chosen="b", rejected="a", probability=0.8)])
    assert pairs.segment.names == ("b", "a")
    shown = here.shown([Demonstration(prompt="far", sample="b", weight=0.5)])
    assert shown.names == ("b",)
    assert shown.weight.tolist() == [0.5]
    with pytest.raises(KeyError, match="1 prompts or samples"):
        here.shown([Demonstration(prompt="far", sample="c")])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch": 8}, "batch=8 does not fit 7 different prompts"),
        ({"sampling": Sampling(max_tokens=17)}, "max_tokens=17 is more than the encoder's answer_limit=16"),
    ],
)
def test_worlds_that_cannot_work_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        world(**values)


def test_a_generator_that_loses_answers_is_caught():
    here = world()
    whole = here.generator.generate
    here.generator.generate = lambda prompts, sampling: whole(prompts, sampling)[1:]
    with pytest.raises(RuntimeError, match="8 answers to 3 prompts x 3"):
        here.collect(None)


def test_the_real_sampler_and_the_policy_agree_on_what_was_drawn():
    from accord.worlds.text.generate import Sampler
    from accord.worlds.text.policy import Policy

    words = word_level(LEXICON)
    model = language_model(ModelSettings(width=32, layers=2, heads=4, context=64), words, seed=1)
    here = world(words=words)
    here.generator = Sampler(model)
    made = here.collect(None)
    with torch.no_grad():
        again = Policy(model).evaluate(made)
    torch.testing.assert_close(again.logprob[made.mask], made.logprob[made.mask], rtol=1e-4, atol=1e-4)
