"""Small runs for tests that start them in several processes: `torchrun ... ranked_run.py FOLDER METHOD ...`.

DIE="METHOD UPDATE RANK HOW" in the environment ends one process in the middle: HOW is `kill`, `nonfinite`
or `writing`, which is a kill while it writes its share of the next checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import AutoModelForSequenceClassification, BertConfig, ModernBertConfig

from accord.algorithms import best_of_n, dpo, grpo, kto, ppo, reward_heads, reward_model, sft
from accord.batches import Comparisons, Rollout, Segment, at_end
from accord.judged import Judged, Kind
from accord.protocols import Sampling
from accord.records import Message, Prompt, Text
from accord.run import NonFinite, OptimiserConfig, Run, RunConfig, ranks, shards, together
from accord.run.leaving import leave
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import LoraSettings, ModelSettings, language_model, scorer_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import word_level
from accord.worlds.text.world import TextWorld

WORDS = word_level(["where", "who", "is", "the", "fox", "dog", "?", "here", "there", "he", "gone", "and", "or", "not"])
SETTINGS = ModelSettings(width=32, layers=2, heads=4, context=64)
OPTIMISER = OptimiserConfig(learning_rate=2e-3, epsilon=1e-6)
SHARED = ("sft", "reward_model", "few", "ppo", "kto", "reward_heads", "lora")
METHODS = (*SHARED, "dpo", "grpo", "best_of_n", "bert", "modernbert")
ENCODERS = {"bert": BertConfig, "modernbert": ModernBertConfig}


def texts(groups: int = 9, each: int = 3) -> Segment:
    """Answers of all lengths, some of them long, so that fair parts are not equal parts."""
    draw = torch.Generator().manual_seed(1)
    rows = groups * each
    length = torch.randint(1, 15, (rows,), generator=draw)
    length[0] = 14
    present = torch.arange(14) < length[:, None]
    return Segment(
        observation=torch.randint(4, len(WORDS), (groups, 9), generator=draw),
        observation_length=torch.randint(2, 10, (groups,), generator=draw),
        group=torch.arange(rows) // each,
        action=torch.randint(4, len(WORDS), (rows, 14), generator=draw) * present,
        length=length,
        mask=present,
        weight=torch.rand(rows, generator=draw) + 0.5,
        names=tuple(f"row{i}" for i in range(rows)),
    )


def compared() -> Comparisons:
    """Three pairs of each prompt."""
    segment = texts()
    first = torch.arange(0, len(segment), 3)
    better, worse = torch.cat([first, first, first + 1]), torch.cat([first + 1, first + 2, first + 2])
    one = torch.ones(len(better))
    names = tuple(f"pair{i}" for i in range(len(better)))
    return Comparisons(segment, better, worse, 0.9 * one, 0.5 + better % 3, 0 * one, names)


def judged() -> Judged:
    """Of each prompt a pair, of every second a ranking, of others ratings of its tone; each a weight of its own."""
    segment, said = texts(), []
    for group in range(9):
        one, two, three = range(3 * group, 3 * group + 3)
        said.append((0, [(one, 1.0), (two, 0.0)]))
        said.append((1, [(three, 0.0), (two, 1.0), (one, 2.0)]) if group % 2 else (2, [(two, group % 5), (one, 1.0)]))
    entries = [(j, row, value) for j, (_, about) in enumerate(said) for row, value in about]
    owner, row, value = (torch.tensor(part) for part in zip(*entries, strict=True))
    one = torch.ones(len(said))
    return Judged(
        segment=segment,
        kinds=(Kind("pair"), Kind("ranking"), Kind("rating", "tone", 5)),
        kind=torch.tensor([kind for kind, _ in said]),
        probability=0.9 * one,
        margin=0 * one,
        weight=0.5 + torch.arange(len(said)) % 3,
        said=owner,
        row=row,
        value=value.float(),
        names=tuple(f"said{j}" for j in range(len(said))),
    )


def sees_all(kind: str) -> Scorer:
    """A small model that sees each text whole."""
    config = ENCODERS[kind](
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=1,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
        **(dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0) if kind == "bert" else {}),
    )
    torch.manual_seed(2)
    return Scorer(AutoModelForSequenceClassification.from_config(config).eval())


def adapted(place: Path) -> Policy:
    """A small model that was saved, with adapters whose product is not zero."""
    base = language_model(SETTINGS, WORDS, 1)
    ranks.once(lambda: base.save_pretrained(place))  # in several processes transformers lets rank 0 alone write
    policy = Policy(language_model(ModelSettings(name=str(place), lora=LoraSettings(rank=4)), WORDS, 1))
    draw = torch.Generator().manual_seed(4)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.1, generator=draw)
    return policy


def prompts(count: int = 7) -> list[Prompt]:
    """Questions of several lengths."""
    said = [f"where is the fox {'? ' * i}".strip() for i in range(count)]
    return [
        Prompt(id=f"p{i}", content=Text(messages=(Message(role="user", content=one),))) for i, one in enumerate(said)
    ]


def learn(method: str, folder: Path, shard: bool = False, device: str = "cpu") -> nn.Module:
    """Train by one method in one folder."""
    config = RunConfig(
        seed=3, device=device, trackers=(), checkpoint_seconds=0, progress=False, **({"shard": True} if shard else {})
    )
    run = Run(folder, config, {"method": method})
    mortal(run, method)
    policy = Policy(language_model(SETTINGS, WORDS, 1).to(device))
    scorer = Scorer(scorer_model(SETTINGS, WORDS, 2).to(device))
    kept = {"micro_tokens": 90, "optimiser": OPTIMISER}
    if method == "sft":
        sft.train(sft.Config(epochs=4, batch=8, **kept), policy, texts(), run, texts(4))
        return policy
    if method == "checkpointing":
        policy = Policy(language_model(SETTINGS.model_copy(update={"checkpointing": True}), WORDS, 1).to(device))
        sft.train(sft.Config(epochs=2, batch=8, **kept), policy, texts(), run, texts(4))
        return policy
    if method == "dropout":
        policy = Policy(language_model(SETTINGS.model_copy(update={"dropout": 0.3}), WORDS, 1))
        sft.train(sft.Config(epochs=4, batch=8, **kept), policy, texts(), run, texts(4))
        return policy
    if method == "reward_model":
        reward_model.train(reward_model.Config(epochs=6, batch=4, **kept), scorer, compared(), run, compared())
        return scorer
    if method == "few":  # one prompt a step, so that the other rank has nothing
        reward_model.train(reward_model.Config(epochs=0.5, batch=1, **kept), scorer, compared(), run, compared())
        return scorer
    if method in ENCODERS:
        scorer = sees_all(method).to(device)
        reward_model.train(reward_model.Config(epochs=3, batch=4, **kept), scorer, compared(), run, compared())
        return scorer
    if method == "reward_heads":
        settings = reward_heads.Config(epochs=3, batch=4, odin=reward_heads.Odin(correlation=1.0), **kept)
        heads, _ = reward_heads.train(settings, scorer, judged(), run, judged())
        return nn.ModuleDict({"scorer": scorer, "columns": heads.columns, "scales": heads.scales})
    if method == "lora":
        policy = adapted(folder.with_name("base")).to(device)
        sft.train(sft.Config(epochs=2, batch=8, **kept), policy, texts(), run, texts(4))
        return policy
    if method == "dpo":
        dpo.train(dpo.Config(epochs=4, batch=4, **kept), policy, compared(), run)
        return policy
    if method == "kto":
        kto.train(kto.Config(epochs=2, batch=8, **kept), policy, texts(), torch.arange(27) % 2 == 0, run)
        return policy
    actor = Policy(policy.model, critic=scorer) if method == "ppo" else policy
    judge = Scorer(scorer_model(SETTINGS, WORDS, 5).to(device))
    start = Policy(language_model(SETTINGS, WORDS, 1).to(device))
    encoder = Encoder(WORDS, EncoderSettings(limit=64, answer_limit=16))
    sampling = Sampling(max_tokens=12, count=3)
    world = TextWorld(encoder, prompts(), Sampler(policy.model), sampling, batch=5, seed=5, version="v")

    @torch.no_grad()
    def worth(rollout: Rollout) -> torch.Tensor:
        there = rollout.to(device)  # answers are collected in main memory
        return at_end(judge.score(there), there.length, there.action.shape[1])

    def reference(segment: Segment) -> torch.Tensor:
        return start.evaluate(segment).logprob

    if method == "ppo":
        ppo.train(ppo.Config(iterations=4, minibatches=2, **kept), actor, world, worth, run, reference)
    elif method == "grpo":
        grpo.train(grpo.kin("dapo", iterations=3, minibatches=2, **kept), actor, world, worth, run)
    else:
        best_of_n.train(best_of_n.Config(iterations=3, updates=2, batch=3, **kept), actor, world, worth, run)
    return actor


def mortal(run: Run, method: str) -> None:
    """Let this process end where DIE says."""
    kind, update, rank, how = (os.environ.get("DIE") or "- 0 0 -").split()
    if kind != method or int(rank) != ranks.rank():
        return
    real, left = run.step, [int(update)]

    def step(**parts: torch.Tensor | float) -> dict[str, float]:
        left[0] -= 1
        if left[0] < 0 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] < 0 and how == "nonfinite":
            raise NonFinite("the loss is nan at rows row7")
        if left[0] < 0:
            together.flush = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        return real(**parts)

    run.step = step  # type: ignore[method-assign]


def main() -> int:
    """Train by each method that was named."""
    torch.set_num_threads(1)
    folder, shard = Path(sys.argv[1]), os.environ.get("SHARD") == "1"
    if shard:
        DTensor.full_tensor = None  # type: ignore[assignment, method-assign]  # nobody puts a whole tensor together
    for method in sys.argv[2:]:
        made = learn(method, folder / method, shard)
        if shard:
            read = made["scorer"] if isinstance(made, nn.ModuleDict) else made  # heads beside it stay whole
            held = sum(p.to_local().numel() for p in read.parameters())
            (folder / method / f"held-{ranks.rank()}").write_text(str(held / sum(p.numel() for p in read.parameters())))
        with shards.gathered():
            weights = {name: value.detach().clone().contiguous() for name, value in made.state_dict().items()}
        save_file(weights, str(folder / method / f"weights-{ranks.rank()}.safetensors"))
    return 0


if __name__ == "__main__":
    leave(main)
