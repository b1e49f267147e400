import random
from collections import Counter

import pytest

from music_flamingo.data_modules.song_order import Blend, SongOrder, Source, songs_of_epoch
from music_flamingo.errors import UserError


def test_one_corpus_is_visited_once_per_epoch_in_an_order_drawn_anew() -> None:
    order = SongOrder((100,), (1.0,), seed=3)
    epochs = [[visit.song for visit in order.epoch(number)] for number in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(100))] * 2
    assert epochs[0] != epochs[1]
    expected = list(range(100))
    random.Random(3).shuffle(expected)
    assert epochs[0] == expected


def test_passes_say_how_often_an_epoch_visits_the_songs_of_a_source() -> None:
    order = SongOrder((10, 4), (2.0, 0.5))
    visits = Counter(visit.song for visit in order.epoch(0))
    assert [visits[song] for song in range(10)] == [2] * 10
    assert sum(visits[song] for song in range(10, 14)) == 2
    assert {tuple(visit) for visit in order.epoch(0) if visit.song == 7} == {(7, 0), (7, 1)}


@pytest.mark.parametrize(("size", "passes"), [(10, 0.25), (7, 0.026), (10, 1.7), (3, 0.9)])
def test_parts_of_a_source_are_visited_equally_often_over_the_epochs(size: int, passes: float) -> None:
    visits: Counter[int] = Counter()
    for epoch in range(200):
        visits.update(songs_of_epoch(size, passes, epoch, "seed"))
        assert abs(sum(visits.values()) - size * passes * (epoch + 1)) <= 1
        assert max(visits[song] for song in range(size)) - min(visits[song] for song in range(size)) <= 1


def test_temperature_gives_small_sources_a_larger_share_of_as_many_visits() -> None:
    sizes = [900, 100]
    for temperature, expected in ((1.0, [900, 100]), (2.0, [750, 250]), (1e9, [500, 500])):
        passes = Blend([Source("a"), Source("b")], temperature).passes(sizes)
        visits = [size * each for size, each in zip(sizes, passes, strict=True)]
        assert visits == pytest.approx(expected)


def test_a_source_that_would_not_be_visited_is_refused() -> None:
    with pytest.raises(UserError, match="corpora/a: expected passes above 0, got 0: leave the source out"):
        Source("corpora/a", 0.0)
    with pytest.raises(UserError, match="expected at least one corpus"):
        Blend([])
    with pytest.raises(UserError, match="Blend.temperature: expected a number above 0, got -1"):
        Blend([Source("a")], -1.0)
