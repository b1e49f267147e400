import torch

from music_flamingo.evaluation.retrieval import found_share, told_apart_share


def test_a_clip_has_found_its_captions_where_any_of_them_is_nearest() -> None:
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    captions = torch.tensor([[[0.0, -1.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
    # Nearest to the third clip: (0, 1), which the second has before the third.
    assert found_share(audio, captions).item() == torch.tensor(2 / 3).item()


def test_captions_of_other_processes_stand_before_the_own() -> None:
    audio, captions = torch.eye(2), torch.eye(2)[:, None]
    assert found_share(audio, torch.cat([-captions, captions]), offset=2) == 1
    assert found_share(audio, torch.cat([captions, -captions]), offset=2) == 0


def test_a_caption_is_told_apart_where_it_is_nearer_than_each_of_its_negatives() -> None:
    audio = torch.tensor([[1.0, 0.0]])
    captions = torch.tensor([[[0.6, 0.8], [0.8, 0.6], [0.8, 0.6]]])
    negatives = torch.tensor([[[[0.0, 1.0], [0.5, 0.0]], [[0.9, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.8, -0.6]]]])
    # The first beats both, the second loses to 0.9, the third only ties.
    assert told_apart_share(audio, captions, negatives).item() == torch.tensor(1 / 3).item()


def test_autocast_makes_no_ties_of_what_is_nearly_as_near() -> None:
    audio, captions = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.801, 0.599]]])
    with torch.autocast("cpu", torch.bfloat16):
        assert told_apart_share(audio, captions, torch.tensor([[[[0.8, 0.6]]]])) == 1
