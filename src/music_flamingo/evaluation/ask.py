"""`music-flamingo ask`: put a question about any song to a model."""

from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from transformers.utils.logging import disable_progress_bar

from music_flamingo.batch import RowBuilder
from music_flamingo.corpora.song_audio import load_waveform, song_cut
from music_flamingo.errors import UserError
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.rollout import SamplingParameters, SharedEngine
from music_flamingo.think_tags import parse_completion


def ask_command(
    song: Path,
    question: str,
    model: Path,
    think: bool = False,
    temperature: float = 0.0,
    max_new_tokens: int = 512,
    seed: int = 0,
) -> None:
    """Answer a question about a song.

    Args:
        song: wav, flac, mp3, ogg or opus file of any rate and number of channels.
        question: what to ask.
        model: Hugging Face directory with processor, such as the `export/` folder of a finished stage.
        think: let the model think first, and show its thoughts.
        temperature: 0 for the likeliest answer.
        max_new_tokens: longest answer, in tokens.
        seed: of the sampling.
    """
    disable_progress_bar()
    text = answer(song, question, model, think, SamplingParameters(max_new_tokens, temperature), seed)
    parsed = parse_completion(text)
    console = Console()
    if think and parsed.think is not None:
        console.print(f"[dim]{escape(parsed.think.strip())}[/dim]")
    console.print(escape((parsed.answer if think and parsed.answer else text).strip()))


def answer(song: Path, question: str, model: Path, think: bool, sampling: SamplingParameters, seed: int = 0) -> str:
    """The completion of one question about one song, tags included.

    Raises:
        UserError: the song cannot be read or is longer than the processor takes; the directory holds no model.
    """
    cut = song_cut(song)
    chat = ConversationFormat.from_directory(model)
    limit = chat.processor.max_audio_len
    if cut.duration > limit:
        raise UserError(f"{song}: expected at most {limit:g} s, got {cut.duration:.0f} s: cut the song first")
    frontend = frontend_of(chat.processor)
    windows = frontend(load_waveform(cut, frontend.sampling_rate))
    network = load_model(str(model)).eval()
    row = RowBuilder(network.audio_token_id)
    root = row.add(chat.song_ids(windows), windows=windows)
    row.add(chat.question_ids(question, think=think), parent=root)
    batch = row.build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        audio = network.encode_audio(batch)
        completion = SharedEngine().sample(network, batch, audio, sampling, chat.end_of_turn, generator)[0]
    return chat.decode(completion.token_ids)
