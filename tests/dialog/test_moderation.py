"""Pieces of transcripts, verdicts, and what of the model's words may be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialog.moderation import MAX_PIECE, MAX_REASON, Held, Pieces, Read, Ruling, Verdict, instead, verdict

FLAG = Verdict(Ruling.FLAG)
ALLOW = Verdict()
REDACT = Verdict(Ruling.REDACT, text="[x]")
HANG_UP = Verdict(Ruling.HANG_UP)


def pieces(*fragments: str) -> list[str]:
    found = Pieces()
    return [piece for text in fragments for piece in found.add(text, 0.0)] + found.end()


def test_a_sentence_is_a_piece_once_something_follows() -> None:
    assert pieces("It", " is 3", ".5 miles.", " Is", " it? Yes") == ["It is 3.5 miles.", " Is it?", " Yes"]


def test_scripts_without_spaces_have_sentences_too() -> None:
    assert pieces("今日は", "。元気", "ですか？") == ["今日は。", "元気ですか？"]


def test_what_never_ends_is_cut_between_words() -> None:
    found = pieces("word " * 300)
    assert all(len(piece) <= MAX_PIECE for piece in found)
    assert found[0].endswith("word")
    assert found[1].startswith(" word")


@given(st.lists(st.text(alphabet="ab .!?\n", max_size=50), max_size=40))
def test_pieces_are_the_fragments_in_order(fragments: list[str]) -> None:
    assert "".join(pieces(*fragments)) == "".join(fragments)


def test_a_moment_of_quiet_finishes_a_piece() -> None:
    found = Pieces()
    assert found.add("Hello", 5.0) == []
    assert found.quiet(5.9) == []
    assert found.quiet(6.1) == ["Hello"]
    assert found.quiet(60.0) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Verdict()),
        ("flag", Verdict(Ruling.FLAG)),
        ({"action": "hang_up", "reason": "a threat"}, Verdict(Ruling.HANG_UP, "a threat")),
        ({"action": "redact", "text": "[card]"}, Verdict(Ruling.REDACT, text="[card]")),
        (
            {"action": "flag", "reason": "rude\nand\tlong " + "y" * 500},
            Verdict(Ruling.FLAG, ("rude and long " + "y" * 500)[:MAX_REASON]),
        ),
        ({"action": "flag", "reason": 'it said "My card is 1234."'}, Verdict(Ruling.FLAG, "")),
    ],
)
def test_what_a_hook_may_answer(value: object, expected: Verdict) -> None:
    assert verdict(value, " My card is 1234.") == expected


@pytest.mark.parametrize("value", [True, 5, ["flag"], "block", {}, {"action": None}, {"action": "flag", "reason": 5}])
def test_what_it_may_not(value: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        verdict(value, "words")


def test_only_what_is_judged_is_read_and_only_when_it_was_heard() -> None:
    held = Held()
    first, second = held.said("One. "), held.said("Two.")
    held.heard("One")
    assert list(held.take()) == []
    assert held.judged(first, ALLOW) == "One. "
    assert list(held.take()) == [Read("One", shown=True)]
    held.heard(". Two.")
    assert list(held.take()) == [Read(". ", shown=True)]
    assert held.judged(second, REDACT) == "[x]"
    assert list(held.take()) == [Read("[x]", shown=True)]


def test_what_stands_in_place_is_read_once() -> None:
    held = Held()
    stretch = held.said(" My card is 1234.")
    held.judged(stretch, REDACT)
    for word in (" My", " card is", " 1234."):
        held.heard(word)
    assert list(held.take()) == [Read(" [x]", shown=True)]


def test_words_that_were_never_heard_are_never_read() -> None:
    held = Held()
    first = held.said("One two three.")
    held.heard("One")
    held.over(14)
    second = held.said("Next.")
    held.heard("Next.")
    assert held.judged(first, FLAG) == "", "the answer is over: it is not shown as being said"
    assert list(held.take()) == [Read("One", shown=False), None]
    assert held.judged(second, ALLOW) == "Next."
    assert list(held.take()) == [Read("Next.", shown=True)]


def test_nobody_reads_why_the_call_was_ended() -> None:
    assert instead("words", HANG_UP) == ""
    held = Held()
    held.judged(held.said("words"), HANG_UP)
    held.heard("words")
    assert list(held.take()) == []


@given(st.data())
def test_with_everything_allowed_what_is_read_is_what_was_heard(data: st.DataObject) -> None:
    held, waiting, read, heard, said = Held(), [], [], [], 0
    for _ in range(data.draw(st.integers(1, 5))):
        answer = data.draw(st.lists(st.text("abc ", min_size=1, max_size=8), min_size=1, max_size=5))
        text = "".join(answer)
        said += len(text)
        waiting += [held.said(piece) for piece in answer]
        reach = data.draw(st.integers(0, len(text)))
        heard.append(text[:reach])
        held.heard(text[:reach])
        if data.draw(st.booleans()):
            while waiting:
                held.judged(waiting.pop(0), ALLOW)
        read += [part.words for part in held.take() if part is not None]
        held.over(said)
    for stretch in waiting:
        held.judged(stretch, ALLOW)
    read += [part.words for part in held.take() if part is not None]
    assert "".join(read) == "".join(heard)
