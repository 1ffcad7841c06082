"""What each form added, by models that had to do without it."""

import pytest
import torch

from accord.algorithms import reward_heads
from accord.evaluate.forms import ALL, forms_card, taught
from accord.judged import Kind
from accord.run import OptimiserConfig, Run, RunConfig
from tests.algorithms.said import PAIR, RANKING, Taste, answers, judged, pairs, ratings, worth


def test_the_card_is_differences_of_the_same_pairs():
    said = judged(answers(4, 2), [(PAIR, [(0, 1.0), (1, 0.0)])] * 3 + [(RANKING, [(2, 0.0), (3, 1.0)])])
    right = {ALL: [1, 1, 1, 0.5], "pair": [1, 0, 0, 0.5], "ranking": [1, 1, 0, 1]}
    card = forms_card(right, said, ["a", "a", "b", "c"])
    assert card.accuracy.estimate == pytest.approx(3.5 / 4)
    assert [(f.form, f.judgements) for f in card.forms] == [("pair", 3), ("ranking", 1)]
    assert [f.added.estimate for f in card.forms] == pytest.approx([2 / 4, 0.5 / 4])
    assert [f.without.estimate for f in card.forms] == pytest.approx([1.5 / 4, 3 / 4])
    assert card.forms[0].added.n == 3


def test_nothing_is_left_out_without_which_nothing_is_said():
    segment = answers(4, 2)
    said = judged(segment, [(PAIR, [(0, 1.0), (1, 0.0)]), (Kind("flag", "harm"), [(2, 1.0)])])
    heard = []
    taught(said, lambda name, rest: heard.append((name, rest.kinds)) or [1.0])
    assert heard == [("all", (PAIR, Kind("flag", "harm"))), ("without-flag.harm", (PAIR,))]


def test_a_planted_form_is_found_to_add_and_an_idle_one_is_not(tmp_path):
    """Twelve pairs and many ratings teach; flags at random do not."""
    segment, unseen = answers(120, 2), answers(250, 2, seed=1)
    held = judged(unseen, pairs(unseen, worth(unseen)))
    coins = torch.rand(40, generator=torch.Generator().manual_seed(1)) < 0.5
    flags = [(Kind("flag", "luck"), [(row, float(coin))]) for row, coin in enumerate(coins)]
    value = worth(segment)
    said = judged(segment, pairs(segment, value)[:12] + ratings(segment, value, "", 5) + flags)
    config = reward_heads.Config(epochs=30, batch=40, optimiser=OptimiserConfig(learning_rate=0.05))

    def teach(name, rest):
        scorer = Taste(width=8)
        quiet = RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
        heads, _ = reward_heads.train(config, scorer, rest, Run(tmp_path / name, quiet))
        scores, _ = reward_heads.scores_of(scorer, heads.columns, unseen, 10_000)
        return reward_heads.rights(scores[:, 0], held)[0].numpy()

    prompts = reward_heads.rights(torch.zeros(len(unseen)), held)[2].tolist()
    card = forms_card(taught(said, teach), said, prompts)
    added = {form.form: form.added for form in card.forms}
    assert set(added) == {"pair", "rating5", "flag.luck"}
    assert added["rating5"].low > 0.05
    assert added["flag.luck"].low < 0.02
    assert card.accuracy.estimate > 0.85
