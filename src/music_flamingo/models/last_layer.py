"""A language model's last layer, computed only where somebody reads its output.

Of a token that predicts nothing, the last layer needs the key and the value: neither its query nor its attention nor
its feed-forward network. In a row of songs with questions most tokens are such. The result is exact.
"""

from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, apply_rotary_pos_emb

from music_flamingo.models.attention import Attend, attention_interface


class LastLayer(Qwen2DecoderLayer):
    """Qwen2's decoder layer, which given `rows` (R,) returns (1, R, D) instead of (1, N, D)."""

    def forward(self, hidden_states: Tensor, *args: Any, rows: Tensor | None = None, **kwargs: Any) -> Tensor:
        if rows is None:
            return super().forward(hidden_states, *args, **kwargs)
        hidden = hidden_states[0]
        read = hidden.index_select(0, rows)
        read = read + self._attention(
            self.input_layernorm(hidden), rows, kwargs["position_embeddings"], kwargs["attend"]
        )
        change: Tensor = self.mlp(self.post_attention_layernorm(read))
        return read[None] + change[None]  # FSDP2 warns of a result that is a view

    def _attention(
        self, hidden: Tensor, rows: Tensor, position_embeddings: tuple[Tensor, Tensor], attend: Attend
    ) -> Tensor:
        """(R, D) of normalised hidden states (N, D)."""
        attention = self.self_attn
        cos, sin = position_embeddings
        query = _heads(attention.q_proj(hidden.index_select(0, rows)), attention.head_dim)
        key = _heads(attention.k_proj(hidden), attention.head_dim)
        query, _ = apply_rotary_pos_emb(query, query[:, :0], cos.index_select(1, rows), sin.index_select(1, rows))
        _, key = apply_rotary_pos_emb(key[:, :0], key, cos, sin)
        value = _heads(attention.v_proj(hidden), attention.head_dim)
        output, _ = attention_interface(attention, query, key, value, None, attention.scaling, attend=attend)
        return cast(Tensor, attention.o_proj(output[0].flatten(1)))


def read_selected_rows(language_model: PreTrainedModel) -> bool:
    """Let a Qwen2 accept `rows` in its forward; False for other models, which then compute all rows."""
    last: Any = cast(nn.ModuleList, language_model.layers)[-1]
    last = getattr(last, "decoder_layer", last)  # behind cross-attention
    if type(last) is not Qwen2DecoderLayer:
        return False
    last.__class__ = LastLayer
    return True


def _heads(projected: Tensor, head_dim: int) -> Tensor:
    """(N, H D) -> (1, H, N, D)."""
    return projected.view(len(projected), projected.shape[1] // head_dim, head_dim).transpose(0, 1)[None]
