"""One lab for all tests of the room, and a way to write an answer."""

import pytest

from accord.lab import Gold, Lab
from accord.records import Message, Prompt, Sample, Text, named_id


@pytest.fixture(scope="session")
def lab():
    return Lab()


@pytest.fixture(scope="session")
def gold(lab):
    return Gold(lab)


@pytest.fixture(scope="session")
def say():
    def write(prompt: Prompt, text: str, finished: bool = True) -> Sample:
        content = Text(messages=(Message(role="assistant", content=text),))
        return Sample(id=named_id(prompt.id, text), prompt=prompt.id, content=content, finished=finished)

    return write


@pytest.fixture(scope="session")
def user():
    def write(*turns: str) -> Prompt:
        roles = ("user", "assistant")
        return Prompt(content=Text(messages=tuple(Message(role=roles[i % 2], content=t) for i, t in enumerate(turns))))

    return write
