"""A hub that does not answer is told in seconds, one that answers is asked as ever, and a folder asks nobody."""

from __future__ import annotations

import socket
import sys
import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from accord.bridges.hub import fetched
from accord.config import SettingsError
from accord.run import online
from accord.run.online import asking_the_hub
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.tokenizer import open_tokenizer, word_level


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """No earlier answer, no proxy of this machine's, and a hub that is not turned off."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online._answers.cache_clear()
    yield
    online._answers.cache_clear()


@pytest.fixture
def nobody(monkeypatch):
    """A hub at a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield constants.ENDPOINT


@pytest.fixture
def somebody(monkeypatch):
    """A hub that takes calls."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{door.getsockname()[1]}")
        yield constants.ENDPOINT


@pytest.mark.parametrize(
    "opened",
    [lambda: open_tokenizer("nobody-here/nothing"),
     lambda: language_model(ModelSettings(name="nobody-here/nothing"), word_level(["a", "b"]))],
)  # fmt: skip
def test_a_name_that_is_nowhere_is_told_at_once_with_the_way_out(nobody, opened):
    begun = time.monotonic()
    with pytest.raises(SettingsError, match=r"nobody-here/nothing is no folder.* the hub .* does not answer.*HF_"):
        opened()
    assert time.monotonic() - begun < online.SECONDS + 5
    assert constants.HF_HUB_OFFLINE is False


def test_a_data_set_likewise_and_its_library_is_offline_meanwhile(nobody, tmp_path, monkeypatch):
    seen = []

    def load_dataset(*given, **named):
        seen.append((constants.HF_HUB_OFFLINE, library.config.HF_HUB_OFFLINE))
        raise ConnectionError("not here")

    library = SimpleNamespace(load_dataset=load_dataset, config=SimpleNamespace(HF_HUB_OFFLINE=False))
    monkeypatch.setitem(sys.modules, "datasets", library)
    with pytest.raises(SettingsError, match=r"the hub .* does not answer"):
        fetched("hub:them/pairs", tmp_path)
    assert seen == [(True, True)]
    assert (constants.HF_HUB_OFFLINE, library.config.HF_HUB_OFFLINE) == (False, False)


def test_with_a_hub_that_answers_nothing_is_changed(somebody):
    def ask():
        with asking_the_hub("them/model"):
            assert constants.HF_HUB_OFFLINE is False
            raise OSError("as the library says it")

    with pytest.raises(OSError, match="as the library says it"):
        ask()


def test_a_proxy_is_called_in_place_of_the_hub(nobody, somebody, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    assert not online.answers(constants.ENDPOINT)
    monkeypatch.setenv("https_proxy", somebody)
    assert online.answers(constants.ENDPOINT)
    monkeypatch.setenv("https_proxy", nobody)
    assert not online.answers(constants.ENDPOINT)


def test_a_folder_and_a_hub_that_is_turned_off_ask_nobody(tmp_path, monkeypatch):
    def never(endpoint):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(online, "answers", never)
    with asking_the_hub(str(tmp_path)):
        pass
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="plain"), asking_the_hub("them/model"):
        raise OSError("plain")
