import random
from collections import Counter

import pytest

from music_flamingo.corpora.songbook.schedule import (
    SPLITS,
    Plan,
    deal,
    plan_clips,
    plan_full_pieces,
    share_out,
    split_pieces,
)
from music_flamingo.errors import UserError

from .pieces import catalogue_of_pieces, piece

PIECES = catalogue_of_pieces()
BY_NAME = {one.name: one for one in PIECES}


def counts(plans: list[Plan], name: str) -> list[int]:
    return sorted(Counter(getattr(plan.setting, name) for plan in plans).values())


def test_a_deck_holds_every_value_equally_often_in_an_order_of_its_own() -> None:
    cards = deal("abc", 11, random.Random(0))
    assert sorted(Counter(cards).values()) == [3, 4, 4]
    assert cards != sorted(cards)
    assert deal("abc", 11, random.Random(0)) == cards


def test_clips_are_shared_out_by_largest_remainder() -> None:
    assert share_out(2800) == {"train": 2352, "val": 168, "test": 280}
    assert share_out(24) == {"train": 20, "val": 2, "test": 2}
    assert sum(share_out(37).values()) == 37


def test_every_choice_is_balanced() -> None:
    plans = plan_clips(PIECES, 1200, 10.0, seed=0)
    train = [plan for plan in plans if plan.split == "train"]
    for name in ("instruments", "drums", "bpm", "tonic", "is_upper_first"):
        numbers = counts(train, name)
        assert numbers[-1] - numbers[0] <= 1, name
    assert set(Counter(plan.texture for plan in train).values()) == {336}
    changes = Counter(plan.change for plan in plans)
    assert {name: round(number / 1200, 2) for name, number in changes.items()} == {
        "none": 0.4,
        "louder": 0.2,
        "softer": 0.2,
        "pause": 0.2,
    }


def test_modes_and_meters_are_even_in_every_split() -> None:
    plans = plan_clips(PIECES, 800, 10.0, seed=0)
    for split in SPLITS:
        cells = Counter((BY_NAME[plan.piece].mode, BY_NAME[plan.piece].meter) for plan in plans if plan.split == split)
        assert len(cells) == 8
        assert max(cells.values()) - min(cells.values()) <= 1


def test_instruments_of_a_plan_differ() -> None:
    assert all(len(set(plan.setting.instruments)) == 2 for plan in plan_clips(PIECES, 200, 10.0, seed=3))


def test_a_piece_is_in_one_split_only() -> None:
    splits: dict[str, set[str]] = {}
    for plan in plan_clips(PIECES, 600, 10.0, seed=0) + plan_full_pieces(PIECES, 24, (120, 200), seed=0):
        splits.setdefault(plan.piece, set()).add(plan.split)
    assert {len(found) for found in splits.values()} == {1}


def test_movements_of_one_work_stay_together() -> None:
    pieces = [piece(name=f"mass {n} movement {m}", work=f"mass {n}") for n in range(10) for m in range(3)]
    splits = split_pieces(pieces, seed=0)
    assert {len({splits[f"mass {n} movement {m}"] for m in range(3)}) for n in range(10)} == {1}
    assert set(splits.values()) == set(SPLITS)


def test_each_tradition_is_split_in_the_same_proportions() -> None:
    splits = split_pieces(PIECES, seed=0)
    tunes = Counter(splits[one.name] for one in PIECES if one.tradition == "fiddle tune")
    assert tunes == Counter(train=54, val=8, test=18)


def test_the_test_split_has_sixty_of_three_hundred_pieces() -> None:
    pieces = [piece(name=f"tune {n}", work=f"tune {n}") for n in range(300)]
    assert Counter(split_pieces(pieces, seed=0).values())["test"] >= 60


def test_the_seed_alone_decides() -> None:
    assert plan_clips(PIECES, 100, 10.0, seed=1) == plan_clips(PIECES, 100, 10.0, seed=1)
    assert plan_clips(PIECES, 100, 10.0, seed=1) != plan_clips(PIECES, 100, 10.0, seed=2)


def test_cut_ids_are_unique() -> None:
    plans = plan_clips(PIECES, 100, 10.0, seed=0) + plan_full_pieces(PIECES, 10, (120, 200), seed=0)
    assert len({plan.cut_id for plan in plans}) == 110


def test_full_pieces_have_three_to_five_sections_and_no_two_neighbours_alike() -> None:
    plans = plan_full_pieces(PIECES, 40, (120, 200), seed=0)
    assert {len(plan.sections) for plan in plans} == {3, 4, 5}
    for plan in plans:
        textures, starts = zip(*plan.sections, strict=True)
        assert all(left != right for left, right in zip(textures, textures[1:], strict=False))
        assert starts[0] == 0.0
        assert list(starts) == sorted(starts)
        assert 120 <= plan.seconds <= 200
        assert plan.texture is None


def test_half_of_the_full_pieces_of_each_split_have_a_pause() -> None:
    plans = plan_full_pieces(PIECES, 40, (120, 200), seed=0)
    for split in ("train", "val", "test"):
        changes = [plan.change for plan in plans if plan.split == split]
        assert set(changes) <= {"none", "pause"}
        assert abs(2 * changes.count("pause") - len(changes)) <= 1


def test_too_few_pieces_for_the_splits_are_refused() -> None:
    with pytest.raises(UserError, match="too few"):
        plan_clips(PIECES[:1], 100, 10.0, seed=0)
