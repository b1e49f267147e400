import pytest
import torch

from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.precision_guard import require_float32
from tests.builders import model_directory


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("rotary_emb.inv_freq", r"rotary_emb\.inv_freq in bfloat16"),
        ("pos_emb", r"pos_emb\S* in bfloat16"),
        ("input_layernorm.weight", r"input_layernorm\.weight in bfloat16"),
    ],
)
def test_tables_of_rotations_and_norms_in_bfloat16_are_named(part: str, named: str) -> None:
    model = MusicFlamingo(str(model_directory()))
    require_float32(model, "trainer.strategy SomeStrategy")
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    name = next((name for name in tensors if part in name), None)
    if name is None:
        pytest.skip(f"transformers' model has no {part}")
    tensors[name].data = tensors[name].data.to(torch.bfloat16)
    with pytest.raises(UserError, match=rf"^trainer\.strategy SomeStrategy: [^\n]*{named}: use [^\n]*bf16-mixed"):
        require_float32(model, "trainer.strategy SomeStrategy")


def test_a_model_cast_as_a_whole_is_refused() -> None:
    model = MusicFlamingo(str(model_directory())).to(torch.bfloat16)
    with pytest.raises(UserError, match="in bfloat16"):
        require_float32(model, "trainer.strategy SomeStrategy")
