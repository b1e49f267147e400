import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from music_flamingo import __version__, cli
from music_flamingo.cli import VERBS, Verb, main
from music_flamingo.errors import UserError


def ask(song: Path, question: str, model: Path, think: bool = False, loudness: float = 1.0) -> None:
    """Ask about a song.

    Args:
        song: the sound file.
        question: what to ask.
        model: folder of the model.
        think: whether to think first.
        loudness: factor.
    """
    print(repr((song, question, model, think, loudness)))


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line with a verb `ask` that prints what it was given."""
    module = types.ModuleType("asking")
    module.ask = ask  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asking", module)
    monkeypatch.setitem(VERBS, "ask", Verb("asking:ask", "ask", ("song", "question")))
    return lambda *words: main(["ask", *words])


def failing(message: str) -> Callable[..., None]:
    def fail(*words: object) -> None:
        raise UserError(message)

    return fail


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_shows_every_verb_on_one_screen(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb}" in shown for verb in [*cli.TRAINER_VERBS, *VERBS])
    assert len(shown.splitlines()) <= 30  # a screen has more, and each verb is one line
    assert max(map(len, shown.splitlines())) <= 100


def test_a_verb_may_be_two_words(monkeypatch, capsys, tmp_path):
    (tmp_path / "checking.py").write_text("def check(corpus: str) -> None:\n    print(f'checked {corpus}')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(VERBS, "data check", Verb("checking:check", "look for mistakes", ("corpus",)))
    assert main(["data", "check", "songs"]) == 0
    assert capsys.readouterr().out == "checked songs\n"
    assert main(["data", "checks"]) == 2
    assert "unknown verb data checks; did you mean data check?" in capsys.readouterr().err
    assert main(["data"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_options_that_a_verb_does_not_name_are_kept_apart_with_what_follows_them() -> None:
    words = ["--out-of", "1", "2", "--config", "a.yaml", "--x.seeds=3", "--seeds", "-4", "-c", "b.yaml", "--help"]
    assert cli.own_words(words, ("out_of", "seeds")) == (
        ["--out-of", "1", "2", "--seeds", "-4", "--help"],
        ["--config", "a.yaml", "--x.seeds=3", "-c", "b.yaml"],
    )


def test_an_option_may_be_written_with_hyphens() -> None:
    assert cli.with_underscores("--audio-root") == "--audio_root"
    assert cli.with_underscores("--audio-root=a-b") == "--audio_root=a-b"
    assert cli.with_underscores("a--b-c") == "a--b-c"


def test_help_imports_neither_torch_nor_a_parser() -> None:
    command = "import sys; from music_flamingo.cli import main; main(['--help']); "
    command += "sys.exit(bool({'torch', 'lightning', 'jsonargparse', 'omegaconf', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", command], check=True, capture_output=True)


def test_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"music-flamingo {__version__}\n"


def test_the_installed_command_reports_a_mistake_in_one_line_with_status_2() -> None:
    script = Path(sys.executable).with_name("music-flamingo")
    done = subprocess.run([script, "frit"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "error: unknown verb frit; did you mean fit?\n",
    )


def test_a_verb_near_to_none_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert "error: unknown verb xyzzy; verbs: fit, validate, test, predict, songbook" in capsys.readouterr().err


def test_positionals_and_options_reach_the_function_with_their_types(
    asking: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking("--model", "runs/m", "a b.flac", "Which instrument: flute?", "--think") == 0
    expected = repr((Path("a b.flac"), "Which instrument: flute?", Path("runs/m"), True, 1.0))
    assert capsys.readouterr().out.strip() == expected


def test_help_for_a_verb_comes_from_its_docstring(
    asking: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        asking("--help")
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "usage: music-flamingo ask" in shown
    for text in (
        "Ask about a song.",
        "the sound file.",
        "folder of the model. (required",
        "factor. (type: float",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "model"),
        (["song.flac", "what?"], "model"),
        (["song.flac", "what?", "--model", "m", "--loudness", "loud"], "expected float, got 'loud'"),
        (["song.flac", "what?", "--model", "m", "--thinks", "true"], "--thinks"),
        (["song.flac", "what?", "more", "--model", "m"], "more"),
    ],
)
def test_wrong_arguments_are_one_line(
    asking: Callable[..., int], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking(*words) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert "see music-flamingo ask --help" in complaint


def test_a_message_of_several_lines_is_printed_on_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "call", failing("first\n  second"))
    assert main(["report", "runs"]) == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_a_mistake_found_in_a_data_loading_worker_keeps_its_own_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in loop\n'
        "music_flamingo.errors.UserError: song.flac: expected sound, got: 0\n"
    )
    monkeypatch.setattr(cli, "call", failing(wrapped))
    assert main(["report", "runs"]) == 2
    assert capsys.readouterr().err == "error: song.flac: expected sound, got: 0\n"


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_is_a_typed_function_with_a_docstring(name: str) -> None:
    function = VERBS[name].load()
    parser = cli.function_parser(name, function, VERBS[name].positionals, VERBS[name].rest)
    assert set(VERBS[name].positionals) <= function.__annotations__.keys()
    assert parser.description
