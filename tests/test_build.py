"""Stages from files: the same text has the same score in every stage, and each way of starting is what it says."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as engines
from tokenizers.trainers import WordPieceTrainer
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from accord import build, judge
from accord.algorithms import reward_model
from accord.batches import Rollout
from accord.build import train
from accord.config import SettingsError
from accord.loop import loop
from accord.project import Project, scores
from accord.recipe import Recipe
from accord.records import Demonstration, Preference, Prompt, Sample, Version
from accord.rewards.learned import Learned
from accord.run import Run, read_log
from accord.worlds.text import adapters, models
from accord.worlds.text.policy import Policy
from accord.worlds.text.tokenizer import open_tokenizer

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SMALL = {
    "name": "files",
    "vocabulary": 400,
    "model": {"width": 16, "layers": 1, "heads": 2, "context": 160},
    "encode": {"limit": 96, "answer_limit": 32},
    "pretrain": {"epochs": 1, "batch": 32},
    "sft": {"epochs": 1, "batch": 16},
    "reward_model": {"epochs": 2, "batch": 8},
    "rollout": 6,
    "rollout_answers": 2,
    "draw": {"max_tokens": 10},
    "ppo": {"iterations": 2, "minibatches": 2},
    "run": {"device": "cpu", "threads": 1, "trackers": [], "progress": False},
}


def rows(name: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a real file, or made ones of the same form where the real data are not there."""
    if (DATA / name).is_file():
        with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in islice(file, count)]
    print(f"{DATA / name} is not there: rows of its form are made up instead")
    draw = random.Random(name)
    words = ["where", "is", "the", "lamp", "?", "I", "do", "not", "know", "ask", "fox", "river", "it’s", "été"]

    def text(longest: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(1, longest)))

    first, second = ("response", "other") if "demonstrations" in name else ("chosen", "rejected")
    return [
        {"prompt": [{"role": "user", "content": f"{i}: {text(90)}"}], first: text(30), second: text(30)}
        if second == "rejected"
        else {"prompt": [{"role": "user", "content": f"{i}: {text(90)}"}], first: text(30)}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, demonstrations and preferences."""
    folder = tmp_path_factory.mktemp("data")
    found = {"demonstrations": rows("demonstrations.jsonl.gz", 50), "preferences": rows("hh_harmless.jsonl.gz", 60)}
    for name, some in found.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    corpus = DATA / "corpus.txt.gz"
    if corpus.is_file():
        with gzip.open(corpus, "rt", encoding="utf-8", newline="") as file:
            text = file.read(30_000)
    else:
        text = "\n\n".join(json.dumps(row, ensure_ascii=False) for some in found.values() for row in some)
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    return folder


@pytest.fixture(scope="module")
def chosen(files: Path) -> Recipe:
    data = {"kind": "files", "root": str(files), "texts": ["text.txt"], "longest_text": 1000, "test_share": 0.25}
    return Recipe(
        **SMALL, data={**data, "demonstrations": ["demonstrations.jsonl"], "preferences": ["preferences.jsonl"]}
    )


@pytest.fixture(scope="module")
def bert(files: Path) -> models.ModelSettings:
    """A tiny BERT with random weights and a WordPiece tokenizer of its own."""
    engine = Tokenizer(engines.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train([str(files / "text.txt")], WordPieceTrainer(vocab_size=500, special_tokens=marks, show_progress=False))
    pair = "[CLS] $A [SEP] $B [SEP]"
    engine.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, [("[CLS]", 2), ("[SEP]", 3)])
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), marks, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, **names)
    torch.manual_seed(3)
    measures = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=128, num_labels=1, initializer_range=0.3, **measures
    )
    folder = files / "bert"
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return models.ModelSettings(name=str(folder))


@pytest.fixture(scope="module")
def made(chosen: Recipe, bert: models.ModelSettings, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All stages up to the reward models: `reward` on the policy's trunk, `reward-bert` on the encoder."""
    project = Project(tmp_path_factory.mktemp("project"), chosen)
    project.prepare()
    train(project, "pretrain", "pretrained")
    train(project, "sft", "sft", start="pretrained")
    train(project, "reward_model", "reward", start="sft")
    train(with_(project, reward_backbone=bert), "reward_model", "reward-bert")
    return project


def with_(project: Project, **changes: Any) -> Project:
    """The same folder under a changed recipe."""
    return Project(project.folder, project.recipe.model_copy(update=changes))


def own(project: Project, reward: str, bert: models.ModelSettings) -> Project:
    return with_(project, reward_backbone=bert) if reward == "reward-bert" else project


def test_stages_keep_to_their_side_of_the_fence(made: Project) -> None:
    train_ids = {p.id for p in made.store.all(Prompt, split="train")}
    test_ids = {p.id for p in made.store.all(Prompt, split="test")}
    assert train_ids
    assert test_ids
    assert not train_ids & test_ids
    beliefs = made.store.get_many(Preference, made.version("reward").data)
    shown = made.store.get_many(Demonstration, made.version("sft").data)
    assert len(beliefs) + len(made.preferences("test")) == 60
    assert {one.prompt for one in [*beliefs.values(), *shown.values()]} <= train_ids
    assert {p.id for p in made.prompts("test")} <= test_ids
    assert {p.id for p in made.prompts("train")} == {b.prompt for b in beliefs.values()}
    assert made.version("pretrained").figures["loss"] < 6.0  # ln 400
    assert [made.version(name).parent for name in ("sft", "reward", "reward-bert")] == [
        made.version("pretrained").id,
        made.version("sft").id,
        None,
    ]


def test_all_stages_of_a_policy_read_with_one_tokenizer(made: Project) -> None:
    spelt = [open_tokenizer(made.path(name)).backend_tokenizer.to_str() for name in ("tokenizer", "pretrained", "sft")]
    assert spelt[0] == spelt[1] == spelt[2] == open_tokenizer(made.path("reward")).backend_tokenizer.to_str()
    assert open_tokenizer(made.path("reward-bert")).cls_token == "[CLS]"


def test_scores_are_normal_over_fresh_answers_of_the_start_where_that_is_wanted(
    made: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = with_(made, reward_model=made.recipe.reward_model.model_copy(update={"normalise": "start"}))
    real, begun = build.reward_model.train, []

    def watched(config: Any, scorer: Any, learned: Any, run: Any, *more: Any) -> Any:
        begun.append(scores(scorer, project.encoder(project.tokenizer()), fresh, config.micro_tokens))
        return real(config, scorer, learned, run, *more)

    fresh = project.sample("sft", project.prompts("train")[:2000], 1, "normal-normal")
    monkeypatch.setattr(build.reward_model, "train", watched)
    train(project, "reward_model", "normal", start="sft")
    assert begun[0].std() == pytest.approx(1, rel=1e-3), "before training"
    after = project.score("normal")(fresh)
    assert after.mean() == pytest.approx(0, abs=1e-4)
    assert after.std() == pytest.approx(1, rel=1e-4)
    with pytest.raises(SettingsError, match="--start NAME"):
        build._fresh(project, "normal", None)


@pytest.mark.parametrize("reward", ["reward", "reward-bert"])
def test_a_text_has_one_score_in_training_ppo_and_evaluation(
    reward: str, made: Project, bert: models.ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = own(made, reward, bert)
    caught: dict[str, Any] = {}

    def instead(
        config: Any, policy: Policy, world: Any, worth: Learned, run: Any, reference: Any, *rest: Any
    ) -> dict[str, float]:
        rollout = world.collect(policy)
        caught.update(rollout=rollout, kept=world.keep(rollout), earned=worth(rollout))
        return {}

    monkeypatch.setattr(build.ppo, "train", instead)
    train(project, "ppo", f"caught-{reward}", start="sft", reward=reward)
    rollout, kept = caught["rollout"], caught["kept"]
    assert len(kept) == 12
    in_ppo = caught["earned"].sum(1)
    assert (caught["earned"] != 0).sum(1).max() == 1
    assert in_ppo.std() > 1e-3

    judged = project.score(reward)(kept)
    assert (judged - in_ppo).abs().max() < 1e-5
    alone = torch.cat([project.score(reward)([pair]) for pair in kept])
    assert (alone - in_ppo).abs().max() < 1e-5

    scorer, encoder = project.scorer(reward)
    learned = encoder.comparisons(*_all_pairs(kept))
    mean, std = models.normaliser(scorer.model)
    in_training = dict(
        zip(learned.segment.names, (reward_model.scores_of(scorer, learned.segment, 64) - mean) / std, strict=True)
    )
    assert len(in_training) >= 8
    for place, (_, sample) in enumerate(kept):
        if sample.id in in_training:
            assert abs(float(in_training[sample.id] - in_ppo[place])) < 1e-5
    _same_tokens(encoder.segment(kept, scoring=True), learned.segment)
    assert isinstance(rollout, Rollout)


@pytest.mark.parametrize("reward", ["reward", "reward-bert"])
def test_the_normaliser_is_that_of_the_training_answers(reward: str, made: Project, bert: models.ModelSettings) -> None:
    project = own(made, reward, bert)
    beliefs = list(project.store.get_many(Preference, project.version(reward).data).values())
    prompts, samples = project.looked_up(beliefs)
    answers = {s: (prompts[b.prompt], samples[s]) for b in beliefs for s in (b.chosen, b.rejected)}
    score = project.score(reward)(list(answers.values()))
    assert abs(float(score.mean())) < 1e-3
    assert abs(float(score.std()) - 1) < 1e-3


def test_the_critic_starts_from_what_the_recipe_says(made: Project, bert: models.ModelSettings) -> None:
    reward, _ = made.scorer("reward")
    sft = AutoModelForCausalLM.from_pretrained(made.path("sft")).model.state_dict()
    from_reward = build.critic(made, "sft", "reward")
    assert _equal(models.parts(from_reward.model)[0].state_dict(), models.parts(reward.model)[0].state_dict())

    assert build.critic(with_(made, critic="shared"), "sft", "reward") == "shared"
    from_policy = build.critic(with_(made, critic="policy"), "sft", "reward")
    # An encoder sees whole texts, so it cannot say what to expect before they are there.
    instead = build.critic(with_(made, reward_backbone=bert), "sft", "reward-bert")
    for critic in (from_policy, instead):
        assert _equal(models.parts(critic.model)[0].state_dict(), sft)
    for critic in (from_reward, from_policy, instead):
        assert not models.parts(critic.model)[1].weight.any()  # so that it foresees the mean of normalised rewards
    assert models.parts(reward.model)[1].weight.any()
    assert not _equal(models.parts(from_reward.model)[0].state_dict(), sft)


@pytest.mark.parametrize("critic", ["reward", "policy", "shared"])
def test_ppo_learns_with_each_critic_from_a_ratio_of_one(critic: str, made: Project) -> None:
    project = with_(made, critic=critic)
    version = train(project, "ppo", f"ppo-{critic}", start="sft", reward="reward")
    assert version.figures["first_ratio"] < 1e-6
    assert version.figures["first_clipped"] == 0
    assert version.figures["sampler_drift"] < 1e-4
    assert version.parent == made.version("sft").id
    assert made.version("reward").id in version.data
    test_ids = {p.id for p in made.store.all(Prompt, split="test")}
    assert not test_ids & set(version.data)
    weights = [AutoModelForCausalLM.from_pretrained(made.path(n)).state_dict() for n in ("sft", version.name)]
    assert not _equal(*weights)


def test_stages_without_a_start_are_refused(made: Project) -> None:
    with pytest.raises(SettingsError, match="--start NAME"):
        train(made, "ppo", "nothing", reward="reward")
    with pytest.raises(SettingsError, match="--reward NAME"):
        train(made, "ppo", "nothing", start="sft")
    with pytest.raises(SettingsError, match="reward_backbone"):
        train(made, "reward_model", "nothing")
    assert made.version("nothing") is None


@pytest.fixture(scope="module")
def adapted(made: Project, chosen: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose policies are adapters on a model that was there before."""
    folder = tmp_path_factory.mktemp("adapted")
    shutil.copytree(made.path("pretrained"), folder / "given")
    model = models.ModelSettings(name=str(folder / "given"), lora=models.LoraSettings(rank=2))
    sft = chosen.sft.model_copy(update={"optimiser": chosen.sft.optimiser.model_copy(update={"learning_rate": 1e-2})})
    project = Project(folder / "p", chosen.model_copy(update={"model": model, "pretrain": None, "sft": sft}))
    project.prepare()
    train(project, "sft", "sft")
    train(project, "reward_model", "reward", start="sft")
    return project


def test_the_reference_of_an_adapted_policy_is_no_second_copy(
    adapted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, real_train, opened, caught = models.language_model, build.ppo.train, [], []

    def counted(settings: models.ModelSettings, *rest: Any) -> Any:
        opened.append(settings.name)
        return real(settings, *rest)

    def watched(
        config: Any, policy: Policy, world: Any, worth: Any, run: Any, reference: Any, *rest: Any
    ) -> dict[str, float]:
        rollout = world.collect(policy)
        caught.append((rollout, reference(rollout), policy.evaluate(rollout).logprob.detach()))
        return real_train(config, policy, world, worth, run, reference, *rest)

    monkeypatch.setattr(models, "language_model", counted)
    monkeypatch.setattr(build.ppo, "train", watched)
    fast = adapted.recipe.ppo.optimiser.model_copy(update={"learning_rate": 1e-2})
    project = with_(adapted, ppo=adapted.recipe.ppo.model_copy(update={"optimiser": fast}))
    one = train(project, "ppo", "one", start="sft", reward="reward", reference="sft")
    two = train(project, "ppo", "two", start="one", reward="reward", reference="sft")
    # Each stage opens the policy once to learn, and never a second time for its encoder or its reference.
    assert opened == [str(adapted.path(name)) for name in ("sft", "one")]

    plain, _ = adapted.policy("sft")
    for rollout, referred, acted in caught:
        with torch.no_grad():
            slow = plain.evaluate(rollout).logprob
        assert ((referred - slow) * rollout.mask).abs().max() < 1e-5
        caught_apart = ((referred - acted) * rollout.mask).abs().max()
        assert (caught_apart < 1e-5) == (rollout is caught[0][0])
    assert one.figures["first_ratio"] < 1e-6
    assert two.figures["first_ratio"] < 1e-6


def test_an_adapted_policy_that_was_stopped_ends_bit_identical(
    adapted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = adapted.recipe.run.model_copy(update={"checkpoint_seconds": 0})
    project = with_(adapted, run=config)
    given = {"start": "sft", "reward": "reward", "reference": "sft"}
    real = Run.log

    def stopped(run: Run, **figures: Any) -> None:
        real(run, **figures)
        if run.at == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "log", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(project, "ppo", "stopped", **given)
    monkeypatch.setattr(Run, "log", real)
    assert project.version("stopped") is None
    train(project, "ppo", "stopped", **given)
    # The name decides the seed of a stage, so the undisturbed one has the same name in another folder.
    other = Project(adapted.folder.parent / "undisturbed", project.recipe)
    other.prepare()
    train(other, "sft", "sft")
    train(other, "reward_model", "reward", start="sft")
    train(other, "ppo", "stopped", **given)
    found = [(p.path("stopped") / "adapter_model.safetensors").read_bytes() for p in (project, other)]
    assert found[0] == found[1]


def test_an_adapter_folder_opens_in_peft_and_the_base_stays_as_it_was(adapted: Project) -> None:
    from peft import PeftConfig, PeftModel

    base = AutoModelForCausalLM.from_pretrained(adapted.recipe.model.name)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    if adapted.version("one") is None:
        train(adapted, "ppo", "one", start="sft", reward="reward", reference="sft")
    folder = adapted.path("one")
    assert not (folder / "reference").exists()
    assert PeftConfig.from_pretrained(str(folder)).r == 2
    opened = PeftModel.from_pretrained(base, str(folder)).eval()
    ours, _ = adapted.policy("one")
    ids = torch.arange(8)[None] + 10
    with torch.no_grad():
        assert (opened(ids).logits - ours.model(ids).logits).abs().max() < 1e-5
        with opened.disable_adapter():
            untouched = AutoModelForCausalLM.from_pretrained(adapted.recipe.model.name)
            assert torch.equal(opened(ids).logits, untouched(ids).logits)
    assert _equal(before, untouched.state_dict())


def test_an_adapter_finds_its_base_beside_it_after_a_move(made: Project, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(made.path("sft"), old / "base")
    tokenizer = open_tokenizer(old / "base")
    settings = models.ModelSettings(name=str(old / "base"), lora=models.LoraSettings(rank=2))
    model = models.language_model(settings, tokenizer)
    assert models.with_reference(model, old / "base")
    assert not models.with_reference(model, made.path("pretrained"))
    models.save(model, tokenizer, old / "adapter")
    old.rename(new)
    again = models.language_model(models.ModelSettings(name=str(new / "adapter")), tokenizer)
    ids = torch.arange(8)[None] + 10
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


def _all_pairs(kept: Sequence[tuple[Prompt, Sample]]) -> tuple[list[Preference], dict[str, Prompt], dict[str, Sample]]:
    """Each answer against every other one to its prompt, whatever anybody thinks of them."""
    pairs = [
        Preference(prompt=p.id, chosen=a.id, rejected=b.id) for p, a in kept for q, b in kept if p is q and a.id < b.id
    ]
    return pairs, {p.id: p for p, _ in kept}, {s.id: s for _, s in kept}


def _same_tokens(one: Any, other: Any) -> None:
    """Rows of one name have the same ids in both segments."""
    read = []
    for segment in (one, other):
        found = {}
        for row, name in enumerate(segment.names):
            g = int(segment.group[row])
            seen = segment.observation[g, : int(segment.observation_length[g])].tolist()
            found[name] = (seen, segment.action[row, : int(segment.length[row])].tolist())
        read.append(found)
    assert len(read[1]) >= 8
    assert {name: read[0][name] for name in read[1]} == read[1]


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_version_keeps_what_the_encoder_did_to_its_rows(made: Project, bert: models.ModelSettings) -> None:
    _, encoder = made.policy("sft")
    beliefs = made.preferences("train") + made.preferences("test")
    encoder.comparisons(beliefs, *made.looked_up(beliefs))
    told = made.version("reward").figures
    assert {name: told[name] for name in encoder.report.figures()} == encoder.report.figures()
    assert told["prompts_cut"] > 0  # 96 tokens are few for real dialogues, so the figure is one
    assert told["rows_encoded"] >= 2 * len(beliefs)


def test_rows_that_are_left_out_are_told_while_it_happens(made: Project) -> None:
    beliefs = made.preferences("train")[:12]
    same = beliefs[0].model_copy(update={"id": "same", "rejected": beliefs[0].chosen})
    with pytest.warns(UserWarning, match=r"short: [\s\S]*1 rows were left out, as in:\n  same: equal"):
        version = train(made, "reward_model", "short", start="sft", beliefs=[*beliefs, same])
    assert version.figures["rows_left_out"] == 1


def test_two_rounds_on_imported_beliefs_learn_from_each_once(chosen: Recipe, tmp_path: Path) -> None:
    none = chosen.collect.model_copy(update={"source": "none"})
    small = {"collect": none, "rounds": 2, "pretrain": None, "beside": {}}
    _, (one, two) = loop(Project(tmp_path / "p", chosen.model_copy(update=small)))
    assert len(one.beliefs) > 20
    assert one.reward.data == two.reward.data
    assert len(set(two.reward.data)) == len(two.reward.data)


def test_data_without_a_side_to_judge_by_are_refused_before_any_work(
    files: Path, chosen: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(files, tmp_path / "data")
    lines = (files / "preferences.jsonl").read_text().splitlines()
    (tmp_path / "data" / "preferences.jsonl").write_text(lines[0] + "\n")
    data = chosen.data.model_copy(update={"root": str(tmp_path / "data")})
    none = chosen.collect.model_copy(update={"source": "none"})
    project = Project(tmp_path / "p", chosen.model_copy(update={"data": data, "collect": none}))
    with pytest.raises(SettingsError, match=r"hold [01] prompts to learn by and [01] to judge by \(test_share=0.25\)"):
        loop(project)
    assert not project.names()


def test_ratings_alone_are_no_pairs_and_the_way_on_is_told(files: Path, chosen: Recipe, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "data")
    row = {"response": "well", "helpfulness": 3, "coherence": 4}
    rows = [json.dumps({"prompt": f"question {n}", **row}) for n in range(12)]
    (tmp_path / "data" / "preferences.jsonl").write_text("\n".join(rows))
    data = chosen.data.model_copy(update={"root": str(tmp_path / "data")})
    none = chosen.collect.model_copy(update={"source": "none"})
    with pytest.raises(SettingsError, match=r"hold 0 prompts .* What came were 12 answers of people .* reward_heads"):
        loop(Project(tmp_path / "p", chosen.model_copy(update={"data": data, "collect": none})))


def test_ppo_takes_no_model_for_what_it_is_not(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="ppo needs a policy model, and --start reward is a reward model"):
        train(made, "ppo", "swapped", start="reward", reward="sft")
    with pytest.raises(SettingsError, match=r"--reward nobody is not there \(there are: pretrained, sft, reward"):
        train(made, "ppo", "missing", start="sft", reward="nobody")
    with pytest.raises(SettingsError, match=r"1 prompts do not make ppo\.minibatches=2"):
        train(made, "ppo", "few", start="sft", reward="reward", prompts=made.prompts("train")[:1])
    monkeypatch.setattr(made, "recipe", made.recipe.model_copy(update={"method": "dpo", "rollout": 1}))
    with pytest.raises(SettingsError, match=r"ppo\.minibatches=2 does not fit rollout=1 prompts; use 1 to 1"):
        train(made, "ppo", "few", start="sft", reward="reward")


def test_a_finished_ppo_is_not_taken_for_one_with_another_critic(made: Project) -> None:
    train(made, "ppo", "acted", start="sft", reward="reward")
    assert train(made, "ppo", "acted", start="sft", reward="reward").name == "acted"
    with pytest.raises(
        SettingsError,
        match=r"settings of critic, rollout \(critic: .* here; rollout: \d+ there, \d+ here\)",
    ):
        train(with_(made, critic="shared", rollout=4), "ppo", "acted", start="sft", reward="reward")


def test_a_model_with_fewer_places_than_tokens_wanted_is_refused(made: Project, tmp_path: Path) -> None:
    few = made.recipe.model.model_copy(update={"name": str(made.path("sft"))})
    wide = made.recipe.encode.model_copy(update={"limit": 400})
    project = Project(tmp_path, made.recipe.model_copy(update={"model": few, "encode": wide}))
    with pytest.raises(SettingsError, match=r"has 160 places for tokens, encode\.limit=400 are wanted"):
        project.language_model(None, open_tokenizer(made.path("sft")))


def test_drift_is_measured_on_answers_from_the_whole_distribution(made: Project) -> None:
    prompts = made.prompts("test")[:4]
    cut = with_(made, draw=made.recipe.draw.model_copy(update={"top_k": 1}))
    one = {sample.content for _, sample in cut.sample("sft", prompts[:1], 6, "x")}
    free = {sample.content for _, sample in cut.sample("sft", prompts[:1], 6, "x", uncut=True)}
    assert len(one) == 1 < len(free)
    greedy, drawn = cut.sample("sft", prompts, 2, "judge"), made.sample("sft", prompts, 2, "drift")
    assert judge.kl(cut, "pretrained", "sft", greedy) == judge.kl(made, "pretrained", "sft", drawn)


def test_a_reward_model_goes_on_in_another_domain(made: Project) -> None:
    """With its head or a new one; and only what may learn has moved."""

    def told(name: str, **settings: Any) -> tuple[Version, dict[str, Any], dict[str, Any]]:
        learning = made.recipe.reward_model.model_copy(update={"epochs": 1, **settings})
        project = with_(made, reward_model=learning)
        version = train(project, "reward_model", name, start="reward")
        model = project.scorer(name)[0].model
        plain = model.merge_and_unload() if adapters.has_adapter(model) else model
        trunk, head = (part.state_dict() for part in models.parts(plain))
        return version, trunk, head

    old = [part.state_dict() for part in models.parts(made.scorer("reward")[0].model)]
    kept, trunk, head = told("kept", head="kept")
    assert kept.parent == made.version("reward").id
    assert not _equal(trunk, old[0])
    first = read_log(made.folder / "runs" / "kept" / "log.jsonl")[0]
    before = train(made, "reward_model", "anew", start="reward")
    assert before.parent == kept.parent
    assert first["loss"] != read_log(made.folder / "runs" / "anew" / "log.jsonl")[0]["loss"], "another head begins"
    _, trunk, head = told("headed", trunk="frozen")
    assert _equal(trunk, old[0])
    assert not _equal(head, old[1])
    _, trunk, _ = told("adapted", trunk="lora", head="kept")
    assert not _equal(trunk, old[0])
    assert adapters.is_adapter(str(made.path("adapted")))
    with pytest.raises(SettingsError, match="sft is a policy model; take fresh"):
        train(with_(made, reward_model=made.recipe.reward_model.model_copy(update={"head": "kept"})), "reward_model",
              "odd", start="sft")  # fmt: skip
