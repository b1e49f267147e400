from music_flamingo.corpora.formats.left_out import OTHERS, LeftOut


def test_reasons_are_counted_with_their_first_places() -> None:
    left_out = LeftOut()
    for number in range(7):
        left_out.add("no answer", f"a:{number}")
    left_out.add("text only", "b:1")
    assert left_out.table() == {
        "no answer": {"count": 7, "examples": ["a:0", "a:1", "a:2", "a:3", "a:4"]},
        "text only": {"count": 1, "examples": ["b:1"]},
    }
    assert left_out.sentence() == "8: 7 no answer (a:0); 1 text only (b:1)"
    assert LeftOut().sentence() == "nothing"


def test_a_million_reasons_do_not_fill_the_memory() -> None:
    left_out = LeftOut()
    for number in range(1000):
        left_out.add(f"a message from {number}", "a:1")
    assert len(left_out.counts) == 101
    assert left_out.counts[OTHERS] == 900
