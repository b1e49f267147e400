"""Which pre-training teaches an untrained encoder faster: naming tags, or telling captions apart?

    python benchmarks/songbook_pretraining.py --seconds 120          about 6 minutes on one core, after songbook_line.py

Contrastive training and tagging start from the same weights and spend the same process-CPU seconds of one thread on the
same clips. Then encoder and projector are frozen, and the same fresh tagging heads, trained for a small fixed budget,
say what can be read off them on held-out pieces; the untrained encoder is the floor. Writes
<date>-songbook-pretraining.json to --out, and the same as Markdown.
"""

import argparse
import json
import math
import os
import platform
import random
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm  # type: ignore[import-untyped]

from music_flamingo.batch import PackedBatch
from music_flamingo.data_modules import ConversationDataModule, DirectAnswers
from music_flamingo.data_modules.conversation_rows import ConversationDataset
from music_flamingo.errors import UserError
from music_flamingo.evaluation.intervals import bootstrap_interval
from music_flamingo.losses import compositional_contrastive_loss
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.stages import TaggingModule
from music_flamingo.stages.tagging import TaggingHead, pad_songs

ROOT = Path(__file__).parents[1]
RECIPE = yaml.safe_load((ROOT / "recipes" / "songbook" / "1_tagging.yaml").read_text())
TAGS: dict[str, list[str]] = RECIPE["model"]["init_args"]["tags"]
ADAMW: dict[str, Any] = RECIPE["model"]["init_args"]["optimizer"]["init_args"]
# In this order, as the first probe puts all mel windows on disk, for which no training should pay.
ENCODERS = ("untrained", "contrastive", "tagging")
MAX_SECONDS = 30.0
WARMUP = 0.03
FACET = 16  # dimensions of the joint space that each query on the audio side fills
TEXT_WIDTH, TEXT_POSITIONS = 96, 256
MIN_TEMPERATURE = 0.01  # CLIP's limit: below it the hardest pair owns the gradient
PROBE_SONGS = 64


class ContrastiveModule(nn.Module):
    """Embeddings of songs and captions that find each other in a row.

    The audio side pools as the tagging heads do, with as many queries as there are tags, so that neither objective
    looks at a song in more ways. The text side is one attention layer: a caption is a bag of facts but for its
    instruments, named in the order in which they enter, and first and last instrument are tags. A mean of token
    embeddings would lose that order; the layer costs little beside the encoder.

    Args:
        model: its audio encoder and projector are trained.
        chat: turns captions into token ids.
    """

    def __init__(self, model: MusicFlamingo, chat: ConversationFormat) -> None:
        super().__init__()
        self.model = model
        self.chat = chat
        self.pool = nn.ModuleList(TaggingHead(model.head_weight.shape[1], FACET) for _ in TAGS)
        self.tokens = nn.Embedding(len(chat.tokenizer), TEXT_WIDTH)
        self.positions = nn.Embedding(TEXT_POSITIONS, TEXT_WIDTH)
        self.layer = nn.TransformerEncoderLayer(TEXT_WIDTH, 4, 2 * TEXT_WIDTH, dropout=0.0, batch_first=True)
        self.project_text = nn.Linear(TEXT_WIDTH, FACET * len(TAGS))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))
        model.network.model.language_model.requires_grad_(False)
        model.network.lm_head.requires_grad_(False)

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        """InfoNCE in both directions; the second one costs nothing more."""
        songs = pad_songs(self.model.song_embeddings(batch))
        audio = normalize(torch.cat([pool(*songs) for pool in self.pool], -1), dim=-1)
        captions = [caption_of(batch.examples[root]["custom"]) for root in batch.tree.roots()]
        text = normalize(self.embed_text(captions), dim=-1)
        temperature = self.log_temperature.exp().clamp(min=MIN_TEMPERATURE)
        to_text = compositional_contrastive_loss(audio, text[:, None], temperature=temperature)
        return (to_text + compositional_contrastive_loss(text, audio[:, None], temperature=temperature)) / 2

    def embed_text(self, captions: list[str]) -> Tensor:
        """Captions -> (captions, joint) embeddings."""
        tokens = [torch.tensor(self.chat.encode(caption)[:TEXT_POSITIONS]) for caption in captions]
        ids = pad_sequence(tokens, batch_first=True)
        places = torch.arange(ids.shape[1])
        real = places < torch.tensor([len(t) for t in tokens])[:, None]
        hidden = self.layer(self.tokens(ids) + self.positions(places), src_key_padding_mask=~real) * real[..., None]
        return cast(Tensor, self.project_text(hidden.sum(1) / real.sum(1, keepdim=True)))


def main() -> None:
    """Train and probe each encoder, then write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("runs/songbook_corpus"))
    parser.add_argument("--start", type=Path, default=Path("runs/songbook_0/0_init"), help="the untrained model")
    parser.add_argument("--seconds", type=float, default=120, help="process-CPU seconds of each training")
    parser.add_argument("--tagging-row", type=float, default=40, help="seconds of audio: 4 clips, as in the recipe")
    parser.add_argument("--contrastive-row", type=float, default=320, help="32 clips: all but one are negatives")
    parser.add_argument("--tagging-rate", type=float, default=ADAMW["lr"], help="highest learning rate")
    parser.add_argument("--contrastive-rate", type=float, default=ADAMW["lr"])
    parser.add_argument("--probe-steps", type=int, default=300)
    parser.add_argument("--probe-rate", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=r"You are trying to `self\.log\(\)`")  # the tagging stage has no trainer
    data = read_corpus(arguments)
    training, probes = {}, {}
    for name in ENCODERS:
        torch.manual_seed(arguments.seed)
        model = MusicFlamingo(str(arguments.start))
        if name != "untrained":
            module = tagging_module(model) if name == "tagging" else ContrastiveModule(model, data.chat)
            training[name] = train(name, module, data, arguments)
        probes[name] = probe(name, model, data, arguments)
    write(training, probes, arguments)


def read_corpus(arguments: argparse.Namespace) -> ConversationDataModule:
    """The corpus, of it the clips of at most 30 s with a piece, a caption and a truth for every tag.

    Raises:
        UserError: no corpus, or no such clips.
    """
    if min(arguments.seconds, arguments.tagging_row, arguments.contrastive_row, arguments.probe_steps) <= 0:
        raise UserError("--seconds, --tagging-row, --contrastive-row and --probe-steps must be above 0")
    if not (arguments.corpus / "cuts_train.jsonl.gz").is_file():
        raise UserError(f"{arguments.corpus} holds no cuts_train.jsonl.gz: run songbook_line.py first or give --corpus")
    data = ConversationDataModule(str(arguments.corpus), str(arguments.start), DirectAnswers(), seed=arguments.seed)
    data.setup("fit")
    data.cuts["train"] = data.songs[0]
    for split in ("train", "test"):
        data.cuts[split] = CutSet([cut for cut in data.cuts[split] if is_usable(cut)])
        if not len(data.cuts[split]):
            raise UserError(
                f"{arguments.corpus}: no {split} cut of at most {MAX_SECONDS:g} s has a conversation of form caption, "
                f"custom.piece and custom.truth with {', '.join(TAGS)}: give another --corpus"
            )
    return data


def is_usable(cut: Cut) -> bool:
    """Whether a clip is short, and both trainings know what to say about it."""
    truth = cut.custom.get("truth") or {}
    is_known = "piece" in cut.custom and all(truth.get(tag) is not None for tag in TAGS)
    return bool(cut.duration <= MAX_SECONDS and is_known and caption_of(cut.custom))


def caption_of(custom: Mapping[str, Any]) -> str:
    """The true caption of a song, empty where it has none."""
    return next((str(c["answer"]) for c in custom["conversations"] if c["form"] == "caption"), "")


def rows(data: ConversationDataModule, split: str, seconds: float, epoch: int) -> Iterator[PackedBatch]:
    """All songs of a split once, nothing asked about them, in an order that depends on the epoch."""
    dataset = ConversationDataset(data.chat, data.store, data.style, 0, prompts_only=False, seed=data.seed)
    sampler = SimpleCutSampler(data.cuts[split], max_duration=seconds, shuffle=True, seed=data.seed)
    sampler.set_epoch(epoch)
    return (dataset[cuts] for cuts in sampler)


def tagging_module(model: MusicFlamingo) -> TaggingModule:
    """The recipe's stage with fresh heads."""
    return TaggingModule(model, partial(torch.optim.AdamW, **ADAMW), TAGS, WARMUP)


def train(
    name: str, module: TaggingModule | ContrastiveModule, data: ConversationDataModule, arguments: argparse.Namespace
) -> dict[str, float]:
    """Train for the budget; the schedule goes by seconds spent, as the number of steps is not known before."""
    row_seconds, rate = getattr(arguments, f"{name}_row"), getattr(arguments, f"{name}_rate")
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], **ADAMW)
    begin, spent, songs, losses = time.process_time(), 0.0, 0, list[float]()
    with tqdm(total=arguments.seconds, desc=name, bar_format="{desc}: {percentage:3.0f}%|{bar}|{postfix}") as bar:
        for row in (row for epoch in count() for row in rows(data, "train", row_seconds, epoch)):
            loss = module.training_step(row, len(losses))
            step(optimizer, loss, rate * cosine(spent / arguments.seconds))
            losses.append(loss.item())
            songs += len(row.window_counts)
            before, spent = spent, time.process_time() - begin
            bar.set_postfix_str(f"loss {losses[-1]:.2f}", refresh=False)
            bar.update(min(spent, arguments.seconds) - before)
            if spent >= arguments.seconds:
                break
    last = losses[-max(1, len(losses) // 10) :]
    ends = {"first_loss": losses[0], "last_loss": sum(last) / len(last)}
    return {"seconds": spent, "steps": len(losses), "songs_heard": songs, "learning_rate": rate, **ends}


def cosine(share: float) -> float:
    """Learning rate at a share of the budget, of the highest: a linear rise, then a cosine to 0."""
    return min(share / WARMUP, (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP))) / 2)


def step(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One update at a learning rate, with the recipe's limit on gradients."""
    [group] = optimizer.param_groups
    group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(group["params"], RECIPE["trainer"]["gradient_clip_val"])
    optimizer.step()


def probe(
    name: str, model: MusicFlamingo, data: ConversationDataModule, arguments: argparse.Namespace
) -> dict[str, list[Any]]:
    """Train fresh heads on frozen embeddings; per tag, 1 for each test clip heard right, and guessed by majority."""
    torch.manual_seed(arguments.seed)  # the same heads for every encoder
    module = tagging_module(model)
    songs, labels, _ = frozen(f"{name}: train", module, data, "train")
    held_out, truth, pieces = frozen(f"{name}: test", module, data, "test")
    # An encoder whose outputs are merely larger would teach the heads faster.
    deviation, mean = torch.std_mean(torch.cat(songs), dim=0)
    songs, held_out = ([(song - mean) / (deviation + 1e-6) for song in split] for split in (songs, held_out))
    optimizer = torch.optim.AdamW(module.heads.parameters(), **ADAMW)
    rng = random.Random(arguments.seed)
    for number in tqdm(range(arguments.probe_steps), f"{name}: heads", unit="step"):
        drawn = rng.sample(range(len(songs)), min(PROBE_SONGS, len(songs)))
        logits = {tag: head(*pad_songs([songs[i] for i in drawn])) for tag, head in module.heads.items()}
        loss = torch.stack([cross_entropy(logits[tag], labels[tag][drawn]) for tag in TAGS]).mean()
        step(optimizer, loss, arguments.probe_rate * cosine(number / arguments.probe_steps))
    found: dict[str, list[Any]] = {"pieces": pieces}
    for tag, head in module.heads.items():
        with torch.no_grad():
            guesses = torch.cat([head(*pad_songs([song])) for song in held_out]).argmax(-1)
        found[tag] = (guesses == truth[tag]).float().tolist()
        found[f"majority of {tag}"] = (labels[tag].mode().values == truth[tag]).float().tolist()
    return found


@torch.no_grad()
def frozen(
    name: str, module: TaggingModule, data: ConversationDataModule, split: str
) -> tuple[list[Tensor], dict[str, Tensor], list[str]]:
    """(A, D') embeddings of each song of a split, tag -> (songs,) classes, and the songs' pieces."""
    songs, pieces, labels = list[Tensor](), list[str](), {tag: list[Tensor]() for tag in TAGS}
    with tqdm(total=len(data.cuts[split]), desc=name, unit="song") as bar:
        for row in rows(data, split, data.test_max_duration, 0):
            songs += module.model.song_embeddings(row)
            pieces += [str(row.examples[root]["custom"]["piece"]) for root in row.tree.roots()]
            for tag, classes in labels.items():
                classes.append(module.labels(row, tag))
            bar.update(len(row.window_counts))
    return songs, {tag: torch.cat(classes) for tag, classes in labels.items()}, pieces


def write(
    training: dict[str, dict[str, float]], probes: dict[str, dict[str, list[Any]]], arguments: argparse.Namespace
) -> None:
    """JSON, and Markdown as a table."""
    table = [tag_row(tag, probes) for tag in TAGS]
    date = datetime.now(UTC).date().isoformat()
    about = {
        "date": date,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread used",
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lightning", "lhotse")},
        "command": " ".join(sys.argv),
        "settings": {n: str(v) if isinstance(v, Path) else v for n, v in vars(arguments).items() if n != "out"},
        "training": training,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{date}-songbook-pretraining.md"
    path.with_suffix(".json").write_text(json.dumps({**about, "tags": table}, indent=1) + "\n")
    path.write_text(markdown(about, table))
    sys.stdout.write(f"{path}\n")


def tag_row(tag: str, probes: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """Accuracy of each encoder on one tag, and by how much tagging is ahead, with its interval over pieces."""
    pieces = probes["tagging"]["pieces"]
    hits = {"majority": probes["tagging"][f"majority of {tag}"], **{name: probes[name][tag] for name in ENCODERS}}
    ahead = bootstrap_interval([a - b for a, b in zip(hits["tagging"], hits["contrastive"], strict=True)], pieces)
    means = {name: sum(column) / len(column) for name, column in hits.items()}
    interval = {"tagging_minus_contrastive": [ahead.mean, ahead.low, ahead.high]}
    return {"tag": tag, "clips": len(pieces), "pieces": len(set(pieces)), **means, **interval}


def markdown(about: dict[str, Any], table: list[dict[str, Any]]) -> str:
    """What was measured, the accuracies, and the two trainings."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"Encoder pre-training, {about['date']}: held-out accuracy of fresh tagging heads on the frozen encoder after "
        f"{about['settings']['seconds']:g} process-CPU seconds of training, {table[0]['clips']} clips of "
        f"{table[0]['pieces']} pieces; in brackets 95 % intervals over pieces.",
        "",
        f"{about['machine']}; {versions}; `{about['command']}`",
        "",
        "| tag | majority guess | untrained | contrastive | tagging | tagging minus contrastive |",
        "|---" * 6 + "|",
    ]
    for row in table:
        values = " | ".join(f"{row[name]:.3f}" for name in ("majority", *ENCODERS))
        lines.append(
            "| {} | {} | {:+.3f} ({:+.3f} to {:+.3f}) |".format(row["tag"], values, *row["tagging_minus_contrastive"])
        )
    lines += ["", "| training | seconds | steps | songs heard | rate | first loss | last loss |", "|---" * 7 + "|"]
    for name, done in about["training"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.6g}" for value in done.values()) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
