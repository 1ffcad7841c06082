"""Labels of steps: the loss against plain Python, whatever the micro-batch; and what can be learned is learned."""

import math
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from accord.algorithms import process_reward
from accord.batches import Segment
from accord.config import SettingsError
from accord.marked import Marked
from accord.run import OptimiserConfig
from tests.algorithms.conftest import WORDS, Speaker, told


class Reader(nn.Module):
    """A number for each word, seen alone."""

    def __init__(self):
        super().__init__()
        self.worth = nn.Embedding(WORDS, 1)

    def each(self, segment):
        return torch.where(segment.present, self.worth(segment.action)[..., 0], 0.0)


def labelled(seed=0, rows=40):
    """Words 0 to 2 are right, the others wrong; about half of the places are judged."""
    segment = told(Speaker(), rows=rows, seed=seed)
    plain = {f.name: getattr(segment, f.name) for f in fields(Segment)}
    draw = torch.Generator().manual_seed(seed)
    judged = segment.mask & (torch.rand(segment.mask.shape, generator=draw) < 0.5)
    plain["weight"] = torch.rand(rows, generator=draw) + 0.5
    return Marked(**plain, label=(segment.action < 3).float(), judged=judged)


@pytest.mark.parametrize("micro", [9, 8192])
def test_a_step_s_loss_and_figures_are_those_of_a_loop_over_judged_places(new_run, micro):
    data, reader, run = labelled(rows=20), Reader(), new_run()
    before = reader.worth.weight.detach().clone()
    lost = right = good = count = places = 0.0
    for b in range(len(data)):
        for t in range(data.action.shape[1]):
            if data.judged[b, t]:
                z, label, w = float(before[data.action[b, t]]), float(data.label[b, t]), float(data.weight[b])
                lost += w * -math.log(1 / (1 + math.exp(-z if label else z)))
                right += w * float((z > 0) == (label > 0.5))
                good, count, places = good + w * label, count + w, places + 1
    config = process_reward.Config(batch=20, micro_tokens=micro)
    found = process_reward.train(config, reader, data, run)
    assert found["loss"] == pytest.approx(lost / count, rel=1e-5)
    assert (found["accuracy"], found["right"]) == (pytest.approx(right / count), pytest.approx(good / count))
    assert found["places"] == places


def test_neither_micro_batches_nor_padding_change_what_is_learned(new_run):
    learned = []
    for micro in (5, 60, 8192):
        torch.manual_seed(0)
        reader = Reader()
        config = process_reward.Config(epochs=3, batch=16, micro_tokens=micro)
        process_reward.train(config, reader, labelled(), new_run())
        learned.append(reader.worth.weight.detach())
    assert_close(learned[0], learned[1], rtol=1e-5, atol=1e-6)
    assert_close(learned[0], learned[2], rtol=1e-5, atol=1e-6)


def test_it_learns_which_words_are_right_and_says_so_of_others(new_run):
    reader, run = Reader(), new_run()
    config = process_reward.Config(epochs=40, batch=16, optimiser=OptimiserConfig(learning_rate=0.1))
    figures = process_reward.train(config, reader, labelled(), run, labelled(seed=9))
    assert figures["held_out_accuracy"] > 0.97
    assert figures["held_out_loss"] < 0.3 < math.log(2)


def test_an_unsure_head_is_half_right_and_nothing_judged_is_refused(new_run):
    assert process_reward.agreed(torch.tensor([0.0, 2.0, -1.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 0.5])).tolist() == [
        0.5, 1, 0, 0.5,
    ]  # fmt: skip
    data = labelled()
    nothing = Marked(**{f.name: getattr(data, f.name) for f in fields(Marked)} | {"judged": data.judged & False})
    with pytest.raises(SettingsError, match="none of the 40 answers"):
        process_reward.train(process_reward.Config(), Reader(), nothing, new_run())
