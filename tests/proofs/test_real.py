"""Real files at toy size: sides, rankings, best of n and tables against plain ones; rows made once, joined, told."""

import gzip
import itertools
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as engines
from tokenizers.trainers import WordPieceTrainer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from accord.algorithms import reward_heads, reward_model
from accord.cli import main
from accord.config import SettingsError
from accord.evaluate.rates import share
from accord.proofs import real, real_data, real_frozen, real_models, real_picked, real_told, real_words
from accord.records import Message, Preference, Sample, Text

ROOT = Path(__file__).parents[2]
WORDS = ["river", "fox", "hen", "barn", "kind", "thanks", "sorry", "stone", "cloud", "paper", "window", "green", "slow"]
GOOD, BAD = "gladly , here it is", "go away now"
PEER = Path(os.environ.get("ACCORD_PEERS", ROOT / ".venv-peers/bin/python"))


def pack(file, rows):
    with gzip.open(file, "wt", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def asked(n, draw):
    return f"what of number {n} ? " + " ".join(draw.choice(WORDS) for _ in range(3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of the real ones' form, in which kind answers are better whatever their length."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(5)

    def pair(n, **more):
        said = [" ".join([text, *(draw.choice(WORDS) for _ in range(draw.randrange(5)))]) for text in (GOOD, BAD)]
        prompt = [{"role": "user", "content": asked(n, draw)}]
        return {"prompt": prompt, "chosen": said[0], "rejected": said[1], "source": "toy", **more}

    pack(folder / "hh_harmless.jsonl.gz", [pair(n) for n in range(60)])
    pack(folder / "hh_helpful.jsonl.gz", [pair(100 + n) for n in range(60)])
    scored = [pair(200 + n, score_chosen=6.0 + n % 3, score_rejected=5.0) for n in range(40)]
    pack(folder / "ultrafeedback.jsonl.gz", scored)
    ranks = []
    for n in range(30):
        first, last = pair(300 + n, lang="zh" if n % 2 else "en"), pair(0)
        ranks += [first, {**first, "chosen": first["rejected"], "rejected": last["rejected"] + f" {n}"}]
    pack(folder / "oasst_pairs.jsonl.gz", ranks)
    pack(folder / "pku_saferlhf_nc.jsonl.gz", [pair(600 + n) for n in range(60)])
    subset = ("Natural", "Adversarial/Manual")
    hard = [{**pair(400 + n), "prompt": asked(400 + n, draw), "subset": subset[n % 2]} for n in range(12)]
    pack(folder / "llmbar.jsonl.gz", hard)
    sums = []
    for n in range(40):
        text = asked(500 + n, draw)
        for m in range(4):
            right = (n + m) % 3 == 0
            said = f"{GOOD if right else BAD} so\nA: {7 if right else m}"
            sums.append({"prompt": text, "response": said, "model": f"m{m}", "correct": right, "ground_truth": "A: 7"})
    pack(folder / "gsm8k_solutions.jsonl.gz", sums)
    with gzip.open(folder / "corpus.txt.gz", "wt") as out:
        out.write("\n\n".join(" ".join(draw.choice(WORDS) for _ in range(30)) for _ in range(60)))
    return folder


@pytest.fixture(scope="module")
def settings(data, tmp_path_factory):
    """A tiny encoder, a tiny decoder, and lessons of a second."""
    folder, words = tmp_path_factory.mktemp("bert"), [*WORDS, GOOD, BAD, "what of number ? so a : 0 1 2 3 4 5 6 7 8 9"]
    engine = Tokenizer(engines.WordPiece(unk_token="[UNK]"))
    engine.normalizer, engine.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train_from_iterator(words, WordPieceTrainer(vocab_size=300, special_tokens=marks, show_progress=False))
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    engine.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), marks, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, **names)
    torch.manual_seed(3)
    measures = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=96, num_labels=1, **measures)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    learning = {"epochs": 4.0, "batch": 8, "optimiser": {"learning_rate": 5e-3}}
    limits = {"limit": 48, "answer_limit": 24}
    return {
        "source": str(data),
        "backbone": {"name": str(folder)},
        "encode": dict.fromkeys(("hh", "ultrafeedback", "oasst", "pku", "gsm8k"), limits),
        "wide": limits,
        "learning": learning,
        "decoder": {
            "vocabulary": 320,
            "model": {"width": 16, "layers": 1, "heads": 2, "context": 64},
            "encode": {"limit": 60, "answer_limit": 30},
            "pretrain": {"epochs": 1, "batch": 8},
        },
        "decoder_learning": learning,
    }


# --- what is read ----------------------------------------------------------------------------------------------


def test_a_prompt_stands_on_one_side_and_every_pair_under_its_part(data):
    learned, test = real_data.sides(str(data), "hh", 0.3)
    sides = [{belief.prompt for belief in side.beliefs} for side in (learned, test)]
    assert not sides[0] & sides[1]
    assert len(learned.beliefs) + len(test.beliefs) == 120
    assert 15 < len(test.beliefs) < 60
    for side in (learned, test):
        assert set(side.parts) == {"harmless", "helpful"}
        for two, belief, part in zip(side.twos, side.beliefs, side.parts, strict=True):
            assert (two.first.id, two.second.id, two.prompt.id) == (belief.chosen, belief.rejected, belief.prompt)
            number = int(two.prompt.content.messages[0].content.split()[3])
            assert part == ("harmless" if number < 100 else "helpful")
    assert {*learned.first(20).parts} == {"harmless", "helpful"}, "the first so many are of both files"
    assert set(real_data.sides(str(data), "ultrafeedback", 0.5)[0].parts) == {"gap under 2", "gap 2 and more"}
    assert set(real_data.sides(str(data), "oasst", 0.5)[0].parts) == {"Chinese", "English"}
    assert set(real_data.sides(str(data), "llmbar", 1.0)[1].parts) == {"natural", "adversarial"}


def test_beliefs_are_one_order_when_one_permutation_alone_agrees_with_them():
    names = "abcd"
    every = list(itertools.permutations(names, 2))
    draw, kinds = random.Random(0), set()
    for _ in range(400):
        chosen = draw.sample(every, draw.randint(1, 6))
        there = sorted({name for pair in chosen for name in pair})
        agree = [order for order in itertools.permutations(there)
                 if all(order.index(a) < order.index(b) for a, b in chosen)]  # fmt: skip
        found = real_data.ordered([Preference(prompt="p", chosen=a, rejected=b) for a, b in chosen])
        assert found == (agree if len(agree) == 1 else chosen)
        kinds.add(min(len(agree), 2))
    assert kinds == {0, 1, 2}


def test_rankings_of_the_toy_file_hold_three_answers_each(data):
    learned, _ = real_data.sides(str(data), "oasst", 0.3)
    said = real_data.rankings(learned)
    assert len(said) * 2 == len(learned.beliefs)
    assert {(len(one.samples), one.values) for one in said} == {(3, (0.0, 1.0, 2.0))}


def test_final_answers_that_are_equal_numbers_are_written_alike():
    assert {real_data.final(f"so\nA: {said}") for said in ("1,000", "$1000", "1000.", "1000.0", "1e3")} == {"1E+3"}
    assert real_data.final("no mark 7") == ""
    assert real_data.final("A: Seven ") == "Seven"


# --- which of n ------------------------------------------------------------------------------------------------


def test_the_curve_is_what_many_draws_come_to():
    draw = np.random.default_rng(1)
    score, right, answer = draw.normal(size=(6, 4)).round(0), draw.random((6, 4)) < 0.5, draw.integers(0, 3, (6, 4))
    said = [[str(value) if value else "" for value in row] for row in answer]
    right = [[bool(r) and bool(a) for r, a in zip(*rows, strict=True)] for rows in zip(right, said, strict=True)]
    right = [[any(r and a == b for r, b in zip(rs, row, strict=True)) for a in row]
             for rs, row in zip(right, said, strict=True)]  # fmt: skip
    found = real_picked.curve(score, right, said)

    def one(way, s, r, a, n):
        mine = draw.permutation(4)[:n]
        votes = [a[m] for m in mine if a[m]]
        weigh = {"majority": lambda m: 1.0, "verifier's majority": lambda m: 1 / (1 + np.exp(-s[m]))}.get(way)
        if weigh and votes:
            total = {said: sum(weigh(m) for m in mine if a[m] == said) for said in votes}
            top = max(total.values())
            winner = draw.choice([said for said in total if total[said] >= top - 1e-9])
            return r[next(m for m in mine if a[m] == winner)]
        if way == "verifier":
            top = max(s[m] for m in mine)
            return r[draw.choice([m for m in mine if s[m] == top])]
        return any(r[m] for m in mine) if way.startswith("a right") else r[draw.choice(mine)]

    for way, n in itertools.product(real_picked.WAYS, (1, 2, 3, 4)):
        for q in range(6):
            drawn = np.mean([one(way, score[q], right[q], said[q], n) for _ in range(600)])
            assert found[way][n][q] == pytest.approx(drawn, abs=0.08), (way, n, q)


def test_a_verifier_that_knows_is_the_oracle():
    right = [[True, False, False, True], [False] * 4]
    found = real_picked.curve(
        [[float(r) for r in row] for row in right], right, [["1", "2", "3", "1"], ["", "", "", ""]]
    )
    assert found["verifier"] == found["a right one, where there is one"]
    assert all(found["any one"][n] == pytest.approx([0.5, 0.0]) for n in range(1, 5))


def test_words_are_weighed_as_the_plain_sum_says_and_chinese_ones_are_single():
    draw = np.random.default_rng(3)
    table = draw.normal(size=(30, 6)) * (draw.random((30, 6)) < 0.5)
    rows = [{at: value for at, value in enumerate(row) if value} for row in table]
    weight = torch.tensor(real_words.fitted(rows, 6), requires_grad=True)
    gap = torch.from_numpy(table) @ weight
    (-torch.nn.functional.logsigmoid(gap).sum() + real_words.SHRINK / 2 * weight @ weight).backward()
    assert weight.grad.abs().max() < 1e-3
    assert weight.abs().max() > 0.05

    said = Sample(prompt="p", content=Text(messages=(Message(role="assistant", content="Don't 你好 don't 7"),)))
    assert real_words.terms(said) == {
        "don't": 2, "你": 1, "好": 1, "7": 1, "don't 你": 1, "你 好": 1, "好 don't": 1, "don't 7": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("layer", "state"), [(None, "vectors"), (-2, "states")])
def test_a_head_reads_the_mean_of_the_answer_alone(settings, data, layer, state):
    lesson = real.lesson_of(real.Config(**settings), "frozen-hh", 1, Path())
    encoder, side = lesson.encoder(), real_data.sides(str(data), "hh", 0.3)[0].first(5)
    pairs = [(two.prompt, sample) for two in side.twos for sample in (two.first, two.second)]
    model = lesson.scorer(encoder).model
    found = real_frozen.states(model, encoder.segment(pairs, scoring=True), encoder, layer, 64)
    for (prompt, sample), row in zip(pairs, found, strict=True):
        texts = [part.content.messages[-1].content for part in (prompt, sample)]
        ids = encoder.tokenizer(texts[1], add_special_tokens=False)["input_ids"]
        whole = encoder.segment([(prompt, sample)], scoring=True).action[0]
        assert whole[-len(ids) - 1 : -1].tolist() == ids, state
        every = model.bert(input_ids=whole[None], output_hidden_states=True).hidden_states
        vectors, states = model.bert.embeddings.word_embeddings.weight, every[layer or 0][0]
        want = vectors[ids] if layer is None else states[-len(ids) - 1 : -1]
        torch.testing.assert_close(row[:-1], want.mean(0).detach(), rtol=1e-4, atol=1e-5)
        assert row[-1] == pytest.approx(np.log1p(len(ids)))


def test_a_head_on_states_needs_an_encoder(settings, data, tmp_path):
    config = real.Config(**settings)
    real.started(config, tmp_path, lambda _: None)
    lesson = real.lesson_of(config, "decoder-hh", 1, tmp_path)
    learned, tested = real_data.sides(str(data), "hh", 0.3)
    with pytest.raises(SettingsError, match="needs an encoder"):
        real_frozen.frozen(lesson, learned, {"hh": tested}, lesson.encode)


# --- rows ------------------------------------------------------------------------------------------------------


def test_rows_learn_are_made_once_and_are_joined_in_one_table(settings, tmp_path, capsys, monkeypatch):
    rows = ("minilm", "words-hh", "oasst-rankings", "ultrafeedback", "ultrafeedback-margin", "gsm8k", "words-pku",
            "vectors-hh", "frozen-hh", "frozen-pku", "decoder-hh")  # fmt: skip
    assert real.prove(1, tmp_path, lambda _: None, False, settings, rows) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "real.json").read_text())
    assert list(figures) == [name for name in real.ROWS if name in rows]
    assert printed == (tmp_path / "real.md").read_text() == real_told.page(figures)
    for name in ("minilm", "words-hh", "ultrafeedback", "oasst-rankings", "vectors-hh", "frozen-hh", "frozen-pku"):
        one = figures[name]
        least = 0.6 if name == "oasst-rankings" else 0.9  # of its answers two of three are alike
        assert one[one["data"]]["all"]["accuracy"]["estimate"] > least, name
        assert one["llmbar"]["all"]["accuracy"]["estimate"] > 0.9, name
    assert figures["gsm8k"]["auroc"] > 0.9
    assert figures["gsm8k"]["gains"]["any one"]["low"] > 0
    assert figures["decoder-hh"]["beside"] == "minilm"
    assert figures["decoder-hh"]["hh"]["gain"]["n"] == figures["minilm"]["hh"]["all"]["accuracy"]["n"]

    header = next(line for line in printed.splitlines() if line.startswith("| row") and "helpful" in line)
    assert header.count("| less ") == 2, "a column for each row that others are held against"
    assert figures["frozen-hh"]["beside"] == "words-hh"
    assert figures["frozen-pku"]["pku"]["gain"]["n"] == figures["words-pku"]["pku"]["all"]["accuracy"]["n"]

    part = json.loads((tmp_path / "rows/minilm-1/row.json").read_text())["tests"]["hh"]
    right = [float(gap > 0) for gap, where in zip(part["gap"], part["part"], strict=True) if where == "helpful"]
    want = share(right).to_dict()
    assert figures["minilm"]["hh"]["parts"]["helpful"]["accuracy"] == pytest.approx(want)

    def never(*_, **__):
        raise AssertionError("a row was made again")

    monkeypatch.setattr(reward_model, "fit", never)
    monkeypatch.setattr(reward_heads, "train", never)
    assert real.prove(1, tmp_path, lambda _: None, False, settings, rows[:2]) == 0
    assert capsys.readouterr().out == printed


def test_through_the_door_and_without_a_peer(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(real_models.PEERS, raising=False)
    file = tmp_path / "settings.yaml"
    kept = {**settings, "most": 16, "learning": {**settings["learning"], "epochs": 1.0}}
    file.write_text(yaml.safe_dump({key: value for key, value in kept.items() if key != "source"}))
    given = ["prove", "real", "--seeds", "2", "--folder", str(tmp_path / "out"), "--settings", str(file)]
    assert main([*given, "--source", settings["source"], "--entrants", "minilm,trl"]) == 0
    said = capsys.readouterr()
    assert real_models.NO_PEER in said.out + said.err
    figures = json.loads((tmp_path / "out/real.json").read_text())
    assert list(figures) == ["minilm"]
    assert figures["minilm"]["seeds"] == 2
    assert main([*given, "--source", settings["source"], "--entrants", "nobody"]) == 2
    assert "no such row: nobody; there are: minilm" in capsys.readouterr().err
    assert main([*given, "--source", str(tmp_path), "--entrants", "gsm8k"]) == 2
    assert "gsm8k_solutions.jsonl.gz is not in" in capsys.readouterr().err
    assert main([*given, "--target", "x"]) == 2
    assert "real has no --target" in capsys.readouterr().err


@pytest.mark.peers
@pytest.mark.skipif(not PEER.is_file(), reason=f"no TRL here ({PEER} is missing): `make peers` makes it")
def test_trl_learns_the_same_rows(settings, tmp_path, monkeypatch):
    monkeypatch.setenv(real_models.PEERS, str(PEER))
    real.prove(1, tmp_path, lambda _: None, False, settings, ("minilm", "trl"))
    figures = json.loads((tmp_path / "real.json").read_text())
    assert figures["trl"]["peer"].startswith("TRL 1.")
    assert figures["trl"]["pairs"] == figures["minilm"]["pairs"]
    assert figures["trl"]["hh"]["all"]["accuracy"]["estimate"] > 0.9


def test_the_page_holds_the_tables_of_its_own_figures():
    page, figures = ROOT / "docs/real.md", ROOT / "bench/results/real.json"
    assert real_told.page(json.loads(figures.read_text())) in page.read_text()
