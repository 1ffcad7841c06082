"""Several real processes are one run: the same losses and weights as one process, resumed, and ended by a death."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import HuggingFaceStorageReader

from accord.config import SettingsError
from accord.run import MEASURED, dealing, newest, ranks, read_log, shards
from accord.run.pieces import file_name
from tests.run.ranked_run import METHODS, SHARED, compared, judged, learn, sees_all, texts

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("ranked_run.py")


def start(processes: int, folder: Path, *methods: str, **env: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    here = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **env}
    return subprocess.run(
        [*launch, str(SCRIPT), str(folder), *methods],
        capture_output=True,
        text=True,
        env=here,
        timeout=300,
        check=False,
    )


def by_hand(processes: int, folder: Path, *methods: str, **env: str) -> list[subprocess.CompletedProcess[str]]:
    """The same without torchrun, which may end the others before they have said why they end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(SCRIPT), str(folder), *methods]
    begun = []
    for rank in range(processes):
        here = {**os.environ, **meet, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), **env}
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here))
    said = [one.communicate(timeout=300) for one in begun]
    return [subprocess.CompletedProcess(words, p.returncode, *s) for p, s in zip(begun, said, strict=True)]


def weights(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return load_file(folder / f"weights-{rank}.safetensors")


def rows(folder: Path) -> list[dict[str, float]]:
    kept = [{k: v for k, v in row.items() if not k.startswith(MEASURED)} for row in read_log(folder / "log.jsonl")]
    return [{k: v for k, v in row.items() if k != "time"} for row in kept]


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


MOVED = "margin", "better_change", "worse_change"
"""Figures that are nought until something has moved."""


def same_figures(alone: Path, several: Path, method: str) -> None:
    one, other = rows(alone), rows(several)
    if method in ("dpo", "kto"):  # before the first step nothing has moved, so that rounding decides who is right
        for first in (one[0], other[0]):
            assert 0 <= first.pop("accuracy") <= 1
            assert max(abs(first[name]) for name in MOVED if name in first) < 1e-6
    for before, after in zip(one, other, strict=True):
        assert before == pytest.approx(after, abs=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """Every method in one process."""
    folder = tmp_path_factory.mktemp("alone")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for method in METHODS:
        model = learn(method, folder / method)
        save_file(
            {k: v.clone().contiguous() for k, v in model.state_dict().items()},
            folder / method / "weights-0.safetensors",
        )
    torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Every method in two processes."""
    folder = tmp_path_factory.mktemp("two")
    done = start(2, folder, *METHODS)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """Most methods in two processes, each with its share of the weights."""
    folder = tmp_path_factory.mktemp("shared")
    done = start(2, folder, *SHARED, SHARD="1")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


# --- dealing -----------------------------------------------------------------------------------------------------


def test_dealing_is_complete_and_near_the_best():
    draw = torch.Generator().manual_seed(0)
    for parts in (1, 2, 3, 5):
        costs = torch.randint(1, 200, (23,), generator=draw).tolist()
        dealt = dealing.dealt(costs, parts)
        assert sorted(i for part in dealt for i in part) == list(range(23))
        loads = [sum(costs[i] for i in part) for part in dealt]
        assert max(loads) <= 4 / 3 * max(max(costs), sum(costs) / parts)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 40])
def test_every_row_is_somebodys_and_groups_stay_together_where_they_can(parts):
    segment = texts()
    found = dealing.rows(segment, parts)
    assert len(found) == parts
    assert sorted(torch.cat(found).tolist()) == list(range(len(segment)))
    if parts <= 3:
        owner = {row: part for part, some in enumerate(found) for row in some.tolist()}
        assert all(len({owner[row] for row in members.tolist()}) == 1 for members in segment.members())
        tokens = [segment.rows(some).tokens for some in found]
        assert max(tokens) <= 1.1 * sum(tokens) / parts, "no rank waits for another"


def test_one_long_group_is_shared_by_its_rows():
    segment = texts(1, 12)
    found = dealing.rows(segment, 3)
    assert all(len(part) for part in found)
    assert sorted(torch.cat(found).tolist()) == list(range(12))


def test_every_pair_is_somebodys_with_its_prompt():
    batch = compared()
    found = dealing.pairs(batch, 2)
    assert sorted(torch.cat(found).tolist()) == list(range(len(batch)))
    prompts = [set(batch.segment.group[batch.better[part]].tolist()) for part in found]
    assert not prompts[0] & prompts[1]
    none = dealing.pairs(batch.pairs(torch.tensor([0])), 2)
    assert sorted(len(part) for part in none) == [0, 1]
    assert list(batch.pairs(none[1]).split(100)) == [], "who has no pair makes no pass"


def test_every_judgement_is_somebodys_with_its_prompt():
    batch = judged()
    for parts in (1, 2, 3, 11):
        found = dealing.judgements(batch, parts)
        assert sorted(torch.cat(found).tolist()) == list(range(len(batch)))
        prompts = [set(batch.segment.group[batch.rows(part)].tolist()) for part in found]
        assert sum(map(len, prompts)) == len(set().union(*prompts)) == 9, "no prompt is read twice"
        if parts <= 3:
            read = [batch.of(part).segment.tokens for part in found]
            assert max(read) <= 1.1 * sum(read) / parts, "no rank waits for another"


def test_one_process_is_not_asked_to_meet_anybody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (ranks.count(), ranks.rank(), ranks.leads()) == (1, 0, True)
    value = torch.tensor([1.0])
    assert ranks.summed(value) is value
    assert ranks.gathered("x") == ["x"]
    segment = texts()
    assert ranks.share(segment) is segment
    assert not torch.distributed.is_initialized()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match=r"process 1 .* no GPU of its own, there are 1"):
        ranks.device("cuda")
    assert ranks.device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("other", ["what rank 0 wrote there", "nothing of what rank 0 wrote there"])
def test_ranks_that_see_other_folders_do_not_begin(other, monkeypatch, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ranks, "gathered", lambda text: [text, other])
    if other.startswith("nothing"):
        with pytest.raises(SettingsError, match=r"rank 1 found nothing of what rank 0 .* use a disk that they share"):
            ranks.meet(tmp_path)
    else:
        ranks.meet(tmp_path)
    assert list(tmp_path.iterdir()) == [], "no mark is left"


def test_a_rank_that_waits_for_others_to_start_says_so(monkeypatch, capfd):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "far", "MASTER_PORT": "7"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    monkeypatch.setattr(ranks, "LATE", 0.01)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda timeout: time.sleep(0.5))
    monkeypatch.setattr(ranks.atexit, "register", lambda _: None)
    ranks.begin()
    assert "rank 1 has waited 0 s for all 2 to meet at far:7" in capfd.readouterr().err


def test_who_is_lost_is_said_in_words():
    raw = "[/__w/pytorch/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:28585. This is typically"
    said = str(ranks.lost(RuntimeError(raw)))
    assert said.startswith(
        "rank 0 of 1 lost the others (Connection closed by peer [127.0.0.1]:28585). The process that"
    )


# --- one run in several processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_learn_what_one_learns(method, alone, two):
    assert len(rows(alone / method)) > 2
    same_figures(alone / method, two / method, method)
    assert apart(weights(alone / method), weights(two / method)) < 1e-5
    assert apart(weights(two / method), weights(two / method, 1)) == 0, "ranks end with the very same weights"


def test_both_processes_worked_and_one_wrote(alone, two):
    lines = [read_log(folder / "ppo" / "log.jsonl")[-1] for folder in (alone, two)]
    assert "seconds/wait" in lines[1]
    assert "seconds/wait" not in lines[0]
    assert sorted(path.name for path in (two / "ppo").iterdir()) == [
        "checkpoints",
        "lock",
        "log.jsonl",
        "weights-0.safetensors",
        "weights-1.safetensors",
    ]


def test_a_killed_rank_ends_the_run_and_the_run_goes_on_bit_for_bit(two, tmp_path):
    first, killed = by_hand(2, tmp_path, "ppo", DIE="ppo 5 1 kill")
    assert killed.returncode == -signal.SIGKILL
    assert first.returncode == 1
    assert "rank 0 of 2 lost the others" in first.stderr
    assert newest(tmp_path / "ppo" / "checkpoints")[0] == 3, "in step 1, with a rollout in hand"
    done = start(2, tmp_path, "ppo")
    assert done.returncode == 0, done.stderr[-3000:]
    assert apart(weights(tmp_path / "ppo"), weights(two / "ppo")) == 0
    assert rows(tmp_path / "ppo") == rows(two / "ppo")


def test_a_rank_that_stops_says_why_and_another_number_of_ranks_goes_on(alone, tmp_path):
    died = start(2, tmp_path, "sft", DIE="sft 6 1 nonfinite")
    assert died.returncode != 0
    assert "NonFinite: the loss is nan at rows row7" in died.stderr
    done = start(3, tmp_path, "sft")
    assert done.returncode == 0, done.stderr[-3000:]
    assert apart(weights(alone / "sft"), weights(tmp_path / "sft")) < 1e-5
    for before, after in zip(rows(alone / "sft"), rows(tmp_path / "sft"), strict=True):
        assert before == pytest.approx(after, abs=1e-5)


# --- weights in shares -------------------------------------------------------------------------------------------


def test_an_encoder_on_shares_is_refused(monkeypatch):
    """Its passes differ in number from rank to rank; gloo would end the process without a word."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"scorer: an encoder reads .* as many passes .* set run.shard=false"):
        shards.shard({"scorer": sees_all("bert")}, torch.device("cpu"), True)
    shards.shard({"scorer": sees_all("bert")}, torch.device("cpu"), False)
    assert not shards.sharded()


@pytest.mark.parametrize("method", SHARED)
def test_two_processes_with_half_the_weights_each_learn_what_one_learns(method, alone, shared):
    same_figures(alone / method, shared / method, method)
    assert apart(weights(alone / method), weights(shared / method)) < 1e-5
    assert apart(weights(shared / method), weights(shared / method, 1)) == 0
    held = [float((shared / method / f"held-{rank}").read_text()) for rank in (0, 1)]
    assert sum(held) == pytest.approx(1)
    assert max(held) < 0.56


def test_each_rank_writes_its_share_of_a_checkpoint_and_torch_opens_it(shared):
    path = sorted((shared / "sft" / "checkpoints").glob("step-*"))[-1]
    shares = [path / file_name(rank) for rank in (0, 1)]
    rest = [path / name for name in ("manifest.json", "state.json", "tensors.safetensors")]
    assert set(path.iterdir()) == {*shares, *rest}
    sizes = [file.stat().st_size for file in shares]
    assert max(sizes) < 0.56 * sum(sizes)
    assert rest[2].stat().st_size < 0.2 * sum(sizes), "steps and generators: nothing that was shared"
    reader = HuggingFaceStorageReader(str(path))
    there = reader.read_metadata().state_dict_metadata
    final = {f"tracked.policy.{name}": value for name, value in weights(shared / "sft").items()}
    tied = final.keys() - there.keys()
    assert len(tied) <= 1, "tied weights are written once"
    found = {name: torch.zeros_like(final[name]) for name in final.keys() - tied}
    dcp.load(found, storage_reader=reader, no_dist=True)
    assert apart(found, {name: final[name] for name in found}) == 0
    for moment in ("exp_avg", "exp_avg_sq"):
        held = sum(torch.Size(there[name].size).numel() for name in there if name.endswith(f".{moment}"))
        assert held == sum(value.numel() for value in found.values()), "and the optimiser's memory of each weight"


def test_a_checkpoint_of_shares_is_one_for_any_number_and_half_of_one_is_none(alone, shared, tmp_path):
    died = start(2, tmp_path, "sft", SHARD="1", DIE="sft 6 1 writing")
    assert died.returncode != 0
    kept = [path.name for path in (tmp_path / "sft" / "checkpoints").iterdir()]
    assert "step-00000012" in kept, "that of the step before"
    assert "step-00000014" not in kept
    assert any(name.startswith(".writing-00000014") for name in kept), "killed in the middle of it"
    shutil.copytree(tmp_path / "sft", tmp_path / "single" / "sft")
    done = start(2, tmp_path, "sft", SHARD="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert apart(weights(tmp_path / "sft"), weights(shared / "sft")) == 0, "bit for bit with as many"
    left = [path.name for path in (tmp_path / "sft" / "checkpoints").iterdir()]
    assert not any(name.startswith(".") for name in left), "what was half written is cleared away"
    single = learn("sft", tmp_path / "single" / "sft").state_dict()
    assert apart(weights(alone / "sft"), single) < 1e-5, "and within rounding with another number, without shares"


@pytest.mark.parametrize(
    ("last_line", "status"),
    [("return 0", 0), ("return 3", 3), ("sys.exit(4)", 4), ("sys.exit('no')", 1), ("raise KeyError('lost')", 1)],
)
def test_one_of_several_leaves_with_its_status_and_without_python_s_farewell(last_line, status):
    """What C++ threads still hold is let go while Python ends, and that is what used to abort the process."""
    program = f"""
import atexit, sys
from accord.run.leaving import leave
class Held:
    def __del__(self): print("Python took its farewell")
held = Held()
atexit.register(print, "open files were closed")
def work():
    {last_line}
leave(work)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False)
    assert (run.returncode, run.stdout) == (status, "open files were closed\n"), run.stderr
    assert ("KeyError: 'lost'" in run.stderr) == ("KeyError" in last_line)
    assert run.stderr.startswith("rank 1 of 2:\n") == (status != 0), "who is not the first says who it is"
    alone = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**env, "WORLD_SIZE": "1"}, check=False
    )
    assert alone.returncode == status
    assert "Python took its farewell" in alone.stdout


@pytest.mark.parametrize(
    ("rank", "before", "says"),
    [
        (1, "", "goes on from its last checkpoint with the same command"),
        (1, "print('accord: rank 1 of 2 lost the others', file=sys.stderr)", "goes on from its last checkpoint"),
        (1, "print('accord: no such setting', file=sys.stderr)", ""),
        (2, "", ""),
    ],
)
def test_one_that_torchrun_ends_says_how_to_go_on_where_the_first_may_be_dead(rank, before, says):
    """The main thread is in C all the while, as one that waits for the others is."""
    program = f"""
import sys, threading
from accord.run.leaving import leave
def work():
    {before or "pass"}
    print("here", flush=True)
    lock = threading.Lock()
    lock.acquire(), lock.acquire()
leave(work)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "here"}
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "here\n"
        run.terminate()
        said = run.communicate(timeout=60)[1]
    assert run.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert says in said
    assert (said == "") == (says == "")
