"""A checkpoint becomes the directory that its fit exported, with a card that says what is known and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, MusicFlamingoForConditionalGeneration

from music_flamingo.checkpoint_folder import CheckpointFolder
from music_flamingo.cli import main
from tests.builders import model_directory, preset_directory, write_corpus

ROOT = Path(__file__).parents[1]
LORA = "{class_path: music_flamingo.models.LoRA, init_args: {rank: 2, alpha: 4, target_modules: [_proj$]}}"
LICENCE = {"license": "other", "license_name": "for-tests", "license_link": "LICENSE.md"}
WAYS = "[{temperature: 0.0, audio: own, max_new_tokens: 6}, {temperature: 0.0, audio: other, max_new_tokens: 6}]"


def fit_words(root: Path, *words: str, **settings: object) -> list[str]:
    """Three steps of SFT from `root/start` on `root/corpus`, with a checkpoint of each and an export."""
    callbacks = [
        "{class_path: music_flamingo.callbacks.RollingCheckpoint, init_args: {every_steps: 1, keep: 9}}",
        '{class_path: music_flamingo.callbacks.HFExport, init_args: {processor: "${run.start}"}}',
    ]
    values = {
        "run.root": root,
        "run.start": root / "start",
        "trainer.default_root_dir": root / "stage",
        "trainer.max_steps": 3,
        "trainer.limit_val_batches": 0,
        "trainer.limit_test_batches": 1.0,
        "trainer.callbacks": f"[{', '.join(callbacks)}]",
        "trainer.logger": "false",
        "trainer.enable_model_summary": "false",
        "data.max_duration": 20,
        "model.evaluation": WAYS,
        **settings,
    }
    configs = [ROOT / "recipes/songbook/2_sft.yaml", ROOT / "recipes/overrides/debug.yaml"]
    given = [word for config in configs for word in ("--config", str(config))]
    return ["fit", *words, *given, *(f"--{key}={value}" for key, value in values.items())]


def write_start(root: Path, model: Path, card: str = "") -> Path:
    """A start directory with a licence, its text and a notice."""
    start = Path(shutil.copytree(model, root / "start"))
    metadata = "\n".join(f"{key}: {value}" for key, value in {**LICENCE, "base_model": "some/base"}.items())
    (start / "README.md").write_text(card or f"---\n{metadata}\n---\n\n# A start\n")
    (start / "LICENSE.md").write_text("For tests.\n")
    (start / "NOTICE").write_text("Noted.\n")
    return start


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit with its test, in `stage`, and one with adapters in `lora`."""
    root = tmp_path_factory.mktemp("trained")
    write_corpus(root / "corpus", train=5, held_out=2)
    write_start(root, model_directory())
    assert main(fit_words(root, "--test")) == 0
    assert main(fit_words(root, **{"trainer.default_root_dir": root / "lora", "model.model.lora": LORA})) == 0
    return root


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same to be spoilt; the recipe is told where it is."""
    root = Path(shutil.copytree(trained, tmp_path / "copied"))
    for recipe in root.glob("*/recipe.yaml"):
        recipe.write_text(recipe.read_text().replace(str(trained), str(root)))
    return root


def export(checkpoint: Path, out: Path, *words: str) -> ModelCard:
    assert main(["export", str(checkpoint), "--out", str(out), *words]) == 0
    return ModelCard.load(out / "README.md")


def checkpoint(root: Path, step: int, run: str = "stage") -> Path:
    return root / run / "checkpoints" / f"step-{step:08d}.ckpt"


def section(card: ModelCard, title: str) -> str:
    found: str = card.text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return found


@pytest.mark.parametrize("run", ["stage", "lora"])
def test_a_fits_last_checkpoint_is_exported_as_the_fit_was(run: str, trained: Path, tmp_path: Path) -> None:
    export(checkpoint(trained, 3, run), tmp_path / "out")
    left = trained / run / "export"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in left.iterdir()}
    for name in {path.name for path in left.iterdir()} - {"README.md"}:
        assert (tmp_path / "out" / name).read_bytes() == (left / name).read_bytes(), name
    assert not any("lora" in name for name in load_file(tmp_path / "out" / "model.safetensors"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of a directory as transformers loads it."""
    network = MusicFlamingoForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


def test_an_earlier_checkpoint_has_its_own_weights(trained: Path, tmp_path: Path) -> None:
    export(checkpoint(trained, 2), tmp_path / "out")
    exported, last = weights(tmp_path / "out"), weights(trained / "stage" / "export")
    folder = CheckpointFolder(checkpoint(trained, 2))
    assert all(torch.equal(each, folder.read(f"state_dict/model.network.{name}")) for name, each in exported.items())
    assert any(not torch.equal(each, last[name]) for name, each in exported.items())


@pytest.mark.parametrize("run", ["stage", "lora"])
def test_a_runs_folder_stands_for_its_newest_checkpoint_rounded_once(
    run: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(trained / run, tmp_path / "out", "--dtype", "bfloat16")
    rounded, exact = weights(tmp_path / "out"), weights(trained / run / "export")
    assert {each.dtype for each in rounded.values()} == {torch.bfloat16}
    assert all(torch.equal(rounded[name], each.bfloat16()) for name, each in exact.items())
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".+/out: MusicFlamingo\w+ of step 3, 0\.\d million parameters, bfloat16", said[0])
    assert said[1].endswith(": for-tests")
    assert said[-1] == f'  next: music-flamingo ask --model {tmp_path / "out"} SONG "QUESTION"'


def test_the_card_carries_licence_and_base_model_over(trained: Path, tmp_path: Path) -> None:
    card = export(trained / "stage", tmp_path / "out")
    assert {key: card.data.get(key) for key in LICENCE} == LICENCE
    assert card.data.base_model == ["some/base"]
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "audio-text-to-text")
    assert (tmp_path / "out" / "LICENSE.md").read_text() == "For tests.\n"
    assert (tmp_path / "out" / "NOTICE").read_text() == "Noted.\n"
    assert f"| {trained / 'start'} | for-tests, LICENSE.md |" in section(card, "Start weights and licence")
    assert "after 3 optimizer steps of 3 of the training stage `SFTModule`" in card.text


def test_the_licence_goes_from_stage_to_stage(copied: Path, tmp_path: Path) -> None:
    left = ModelCard.load(copied / "stage" / "export" / "README.md")
    assert {key: left.data.get(key) for key in LICENCE} == LICENCE
    assert "None. This card was written at the end of the fit" in section(left, "Scores")
    assert "| corpus | 1 | not counted: at the end of a fit corpora are only named | – |" in left.text
    settings = {"run.start": copied / "stage" / "export", "trainer.default_root_dir": tmp_path / "next"}
    assert main(fit_words(copied, **settings)) == 0
    after = ModelCard.load(tmp_path / "next" / "export" / "README.md")
    assert {key: after.data.get(key) for key in (*LICENCE, "base_model")} == {**LICENCE, "base_model": ["some/base"]}
    assert (tmp_path / "next" / "export" / "NOTICE").read_text() == "Noted.\n"


def test_the_card_counts_the_training_songs_and_shows_the_recipe(trained: Path, tmp_path: Path) -> None:
    card = export(trained / "stage", tmp_path / "out")
    data = section(card, "Training data")
    assert "| corpus | 1 | 5 | 0.01 |" in data  # five of ten seconds
    assert "Licences of the songs in corpus:\n\n- 5 x (not said)\n" in data
    shown = section(card, "Recipe").partition("```yaml\n")[2].partition("\n```")[0]
    assert shown == (trained / "stage" / "recipe.yaml").read_text().rstrip()


def test_scores_are_those_of_the_weights_that_answered(trained: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (trained / "stage" / "predictions.jsonl").read_text().splitlines()]
    drums = [row for row in rows if (row["question_name"], row["audio"], row["form"]) == ("drums", "own", "open")]
    right = sum(bool(row["correct"]) for row in drums)
    assert {row["step"] for row in rows} == {3}
    # Three of five training songs have drums, and one of the two that are asked about.
    scores = section(export(trained / "stage", tmp_path / "three"), "Scores")
    assert re.search(rf"\| drums \| {len(drums)} \| {right / len(drums):.2f} \| [\d.]+ to [\d.]+ \| 0.50 \| ", scores)
    others = section(export(checkpoint(trained, 2), tmp_path / "two"), "Scores")
    assert others.strip() == "None. The answers in the run's folder are those of other weights (step 3)."


def test_scores_of_weights_before_they_were_rounded_are_said_to_be(trained: Path, tmp_path: Path) -> None:
    card = export(trained / "stage", tmp_path / "out", "--dtype", "bfloat16")
    assert "Weights are bfloat16." in card.text
    assert "before they were rounded to bfloat16" in section(card, "Limits")


def test_a_blend_is_shown_by_its_sources(copied: Path, tmp_path: Path) -> None:
    recipe = copied / "stage" / "recipe.yaml"
    sources = [{"corpus": f"{copied}/corpus", "passes": 2.0}, {"corpus": "s3://songs/many"}, {"corpus": "data/gone"}]
    blend = {"class_path": "music_flamingo.data_modules.Blend", "init_args": {"sources": sources}}
    lines = recipe.read_text()
    recipe.write_text(re.sub(r"\n    corpus: .*", lambda _: f"\n    corpus: {json.dumps(blend)}", lines))
    data = section(export(copied / "stage", tmp_path / "out"), "Training data")
    assert "| corpus | 2 | 5 | 0.01 |\n| many | 1 | not counted: in an object store | – |\n" in data
    assert "| gone | 1 | not counted: not where the recipe has it | – |" in data


def test_test_of_a_checkpoint_says_its_step(copied: Path) -> None:
    words = ["test", *fit_words(copied)[1:], f"--ckpt_path={checkpoint(copied, 2)}"]
    assert main(words) == 0
    rows = [json.loads(line) for line in (copied / "stage" / "predictions.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {2}


def test_the_lines_of_the_card_load_the_model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = export(trained / "stage", tmp_path / "a 'model'")
    monkeypatch.chdir(tmp_path)
    loaded: dict[str, object] = {}
    exec(section(card, "How to load it").partition("```python\n")[2].partition("```")[0], loaded)
    assert isinstance(loaded["model"], MusicFlamingoForConditionalGeneration)
    assert type(loaded["processor"]) is type(AutoProcessor.from_pretrained(model_directory(), local_files_only=True))


def test_a_recipe_whose_fit_went_on_from_a_checkpoint_that_is_gone_is_read(copied: Path, tmp_path: Path) -> None:
    recipe = copied / "stage" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("ckpt_path: null", f"ckpt_path: {copied}/gone.ckpt"))
    assert "gone.ckpt" in recipe.read_text()
    export(copied / "stage", tmp_path / "out")


def test_what_is_not_there_is_said_not_to_be(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "corpus")
    (copied / "stage" / "predictions.jsonl").unlink()
    for name in ("README.md", "LICENSE.md", "NOTICE"):
        (copied / "start" / name).unlink()
    card = export(copied / "stage", tmp_path / "out")
    assert not {"license", "license_name", "license_link", "base_model"} & card.data.to_dict().keys()
    assert "state no licence, so none is stated here" in section(card, "Start weights and licence")
    assert "| corpus | 1 | not counted: not where the recipe has it | – |" in section(card, "Training data")
    assert section(card, "Scores").strip().startswith("None. The run's folder holds no answers")
    assert "has not been measured" in section(card, "Limits")
    assert not list((tmp_path / "out").glob("LICENSE*"))


def other_sizes(root: Path) -> Path:
    """A start directory whose model has a weight of another shape."""
    path = root / "start" / "model.safetensors"
    tensors = load_file(path)
    config = json.loads((root / "start" / "config.json").read_text())
    config["audio_config"]["num_mel_bins"] = 80
    (root / "start" / "config.json").write_text(json.dumps(config))
    name = next(name for name in tensors if name.endswith("audio_tower.conv1.weight"))
    tensors[name] = torch.zeros(tensors[name].shape[0], 80, tensors[name].shape[2])
    save_file(tensors, path, {"format": "pt"})
    return root / "stage"


def other_model(root: Path) -> Path:
    shutil.rmtree(root / "start")
    write_start(root, preset_directory("tinymu-tiny"))
    recipe = root / "stage" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("models.MusicFlamingo", "models.TinyMU"))
    return root / "stage"


def cut_short(root: Path) -> Path:
    shard = checkpoint(root, 3) / "rank-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    return checkpoint(root, 3)


def without_recipe(root: Path) -> Path:
    (root / "stage" / "recipe.yaml").unlink()
    return root / "stage"


def without_start(root: Path) -> Path:
    shutil.rmtree(root / "start")
    return root / "stage"


def all_damaged(root: Path) -> Path:
    for step in (1, 2, 3):
        (checkpoint(root, step) / "manifest.json").unlink()
    return root / "stage"


def foreign_class(root: Path) -> Path:
    recipe = root / "stage" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("music_flamingo.models.MusicFlamingo", "subprocess.Popen"))
    return root / "stage"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: root / "corpus", r"corpus: expected a checkpoint such as .*, got other files"),
        (lambda root: root / "nothing", r"nothing: expected a checkpoint such as .*, got no such folder"),
        (cut_short, r"step-00000003.ckpt: expected a whole checkpoint, got one whose rank-00000.safetensors is"),
        (all_damaged, r"checkpoints: expected a whole checkpoint, got 3 damaged"),
        (other_model, r"expected a checkpoint of this model, got one that has \w+.*\d+ weights differ"),
        (other_sizes, r"audio_tower.conv1.weight is \(\d+, 64, 3\), not \(\d+, 80, 3\)"),
        (without_recipe, r"stage/recipe.yaml: expected the recipe of the run .*, got no such file"),
        (without_start, r"start/config.json does not exist"),
        (foreign_class, r"recipe.yaml: model.init_args.model.class_path: subprocess.Popen: a recipe may only name"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*damaged")
def test_what_cannot_be_exported_is_said_in_a_line(
    spoil: Callable[[Path], Path], said: str, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(spoil(copied)), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(rf"error: [^\n]*{said}[^\n]*\n", message), message
    assert not any("out" in path.name for path in tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["export", str(trained / "stage"), "--out", str(tmp_path)]) == 2
    assert "expected a new or empty folder, got one with files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
