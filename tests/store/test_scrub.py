"""What points at a person goes, what only looks like it stays, and scrubbing twice is scrubbing once."""

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.store import StoreError
from accord.store.scrub import Mark, account, luhn, presidio, pseudonym, resident, scrub

GONE = [
    ("Write to jane.o+x@mail.example.co.uk, please.", "Write to [EMAIL], please."),
    ("邮箱：wang_xm@example.cn。", "邮箱：[EMAIL]。"),
    ("Call +44 20 7946 0958 now", "Call [PHONE] now"),
    ("(555) 013-4567 or 555-013-4567", "[PHONE] or [PHONE]"),
    ("我的手机是13812345678。", "我的手机是[PHONE]。"),
    ("打 138 1234 5678 或 010-12345678", "打 [PHONE] 或 [PHONE]"),
    ("全角１３８１２３４５６７８也是", "全角[PHONE]也是"),
    ("card 4111 1111 1111 1111, exp 04/27", "card [CARD], exp 04/27"),
    ("4012-8888-8888-1881", "[CARD]"),
    ("IBAN GB82 WEST 1234 5698 7654 32.", "IBAN [ACCOUNT]."),
    ("11010519491231002X 是我的", "[ID] 是我的"),
    ("SSN 078-05-1120", "SSN [ID]"),
    ("my passport number: X1234567", "my passport number: [ID]"),
    ("护照号：E12345678", "护照号：[ID]"),
    ("from 192.168.0.12 at noon", "from [ADDRESS] at noon"),
    ("Dear Mr. Smith-Jones, thanks", "Dear Mr. [NAME], thanks"),
    ("My name is Ada Lovelace and I code", "My name is [NAME] and I code"),
    ("Yesterday Sarah Connor came", "Yesterday [NAME] came"),
    ("请联系王小明先生。", "请联系[NAME]先生。"),
    ("我叫李雷，今年八岁", "我叫[NAME]，今年八岁"),
    ("联系人：欧阳修", "联系人：[NAME]"),
]
STAYS = [
    "2 + 2 = 4, and 1234567890123456 is no card",
    "On 2024-01-15 and 15.01.2024 we met; see version 3.11.4.",
    "The Great Wall is 21196 km long; 1,000,000 people a year.",
    "Python 3.11 runs at 127 W; pi is 3.14159265358979",
    "Martin said so. New York is big. Will Power be enough?",
    "小王子是一本书。老师说，今天很好。",
    "v1.2.3.4567 and a hash 9f86d081884c7d659a2feaa0c55ad015",
    "ISBN 978-3-16-148410-0",
    "x = [1, 2, 3]; y = x[EMAIL_INDEX]",
    "谁是先生？",
]


@pytest.mark.parametrize(("text", "clean"), GONE)
def test_what_points_at_a_person_goes(text, clean):
    assert scrub(text).text == clean
    assert scrub(clean) == scrub(clean).__class__(clean, ())


@pytest.mark.parametrize("text", STAYS)
def test_what_only_looks_like_it_stays(text):
    assert scrub(text).text == text


def test_names_that_a_project_knows():
    names = ["Zaphod", "张伟", " "]
    assert scrub("zaphod met 张伟, not Zaphodia", names).text == "[NAME] met [NAME], not Zaphodia"
    assert scrub("zaphod met 张伟").text == "zaphod met 张伟"


def test_counts_and_places_of_what_is_left():
    text = "a@b.org wrote to c@d.org: fine"
    done = scrub(text)
    assert done.counts() == {"EMAIL": 2}
    assert done.marks == (Mark(0, 7, "EMAIL"), Mark(17, 24, "EMAIL"))
    for word in ("wrote", "to", "fine"):
        at = done.moved(text.index(word))
        assert done.text[at : at + len(word)] == word
    assert done.moved(len(text)) == len(done.text)
    assert done.moved(18) == done.text.rindex("[EMAIL]")


def test_checksums_by_their_published_examples():
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")
    assert resident("11010519491231002X")
    assert not resident("110105194912310021")
    assert account("DE89 3704 0044 0532 0130 00")
    assert not account("DE88 3704 0044 0532 0130 00")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_text_comes_out_once_and_for_all(text):
    once = scrub(text)
    assert scrub(once.text).text == once.text
    assert 0 <= once.moved(len(text) // 2) <= len(once.text)


@given(st.lists(st.sampled_from([text for text, _ in GONE] + STAYS), max_size=4))
def test_joined_texts_keep_nothing_of_the_parts(parts):
    done = scrub("\n".join(parts)).text
    assert done == "\n".join(dict(GONE).get(part, part) for part in parts)


def test_a_hostile_text_costs_little():
    begun = time.monotonic()
    for hostile in (
        "a@" * 20_000,
        "1 " * 20_000,
        "1-" * 20_000,
        "王" * 20_000,
        "A" * 40_000,
        "Aa " * 20_000,
        "+1" * 20_000,
    ):
        scrub(hostile)
    assert time.monotonic() - begun < 20


def test_a_pseudonym_needs_the_key():
    assert pseudonym(b"one", "ada") == pseudonym(b"one", "ada") != pseudonym(b"two", "ada")
    assert pseudonym(b"one", "ada") != pseudonym(b"one", "bea")
    assert len(pseudonym(b"one", "ada")) == 16


def test_another_finder_is_asked_too_and_presidio_is_a_door(monkeypatch):
    found = scrub("the Old Mill, a@b.org", finders=[lambda text: [Mark(4, 12, "PLACE"), Mark(14, 16, "PLACE")]])
    assert found.text == "the [PLACE], [EMAIL]"
    monkeypatch.setitem(__import__("sys").modules, "presidio_analyzer", None)
    with pytest.raises(StoreError, match=r"accord\[presidio\]"):
        presidio()

    class AnalyzerEngine:
        def __init__(self, supported_languages):
            assert supported_languages == ["en"]

        def analyze(self, text, language, score_threshold):
            assert (language, score_threshold) == ("en", 0.5)
            return [SimpleNamespace(start=0, end=3, entity_type="PERSON")]

    fake = SimpleNamespace(AnalyzerEngine=AnalyzerEngine)
    monkeypatch.setitem(__import__("sys").modules, "presidio_analyzer", fake)
    assert scrub("Bob is in", finders=[presidio()]).text == "[NAME] is in"
