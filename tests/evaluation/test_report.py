import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from music_flamingo.errors import UserError
from music_flamingo.evaluation.report import build_report, print_report, report_command
from music_flamingo.evaluation.run_folder import read_run

NOISE = "    style: {init_args: {noise: {init_args: {systematic: {oboe: flute}}}}}\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, builders):
    """In training three of four clips begin with the flute; of the four held-out ones two do."""
    train = [builders.custom(first) for first in ("flute", "flute", "flute", "oboe")]
    test = [builders.custom(first) for first in ("flute", "flute", "oboe", "oboe")]
    return builders.write_corpus(tmp_path_factory.mktemp("corpus"), train, test)


@pytest.fixture(scope="module")
def answers(builders):
    """Answers to the instrument question of four clips, each of its own piece."""

    def rows(right, reward=2.0, **changes):
        truths = ["flute", "flute", "oboe", "oboe"]
        return [
            builders.prediction(
                cut=f"clip-{n}",
                piece=f"piece-{n}",
                conversation=f"clip-{n}-instrument-open",
                truth=truths[n],
                correct=bool(correct),
                **{"reward": reward + n, **changes},
            )
            for n, correct in enumerate(right)
        ]

    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory, builders, corpus, answers):
    sampled = {"decoding": "sampled", "temperature": 1.0}
    stages = {
        "1_tagging": None,
        "2_sft": answers([1, 0, 0, 0], mode="direct"),
        "3_warmup": answers([1, 1, 0, 0], 1.0)
        + answers([1, 0, 0, 0], 0.0, **sampled)
        + answers([1, 1, 0, 0], 0.5, decoding="sampled", temperature=0.5),
        "4_grpo": answers([1, 1, 1, 0], 3.0)
        + answers([1, 0, 0, 0], audio="other")
        + answers([1, 1, 1, 1], 4.0, **sampled),
        "control": answers([1, 1, 0, 0], 1.5) + answers([1, 1, 0, 0], 1.0, **sampled),
    }
    folder = tmp_path_factory.mktemp("run")
    for name, rows in stages.items():
        builders.write_stage(folder, name, rows, corpus=corpus, noise=NOISE)
    return folder


@pytest.fixture(scope="module")
def report(run):
    report_command(run)
    return json.loads((run / "report.json").read_text())


@pytest.fixture
def own_run(run, tmp_path):
    """A copy that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_a_complete_run_lacks_nothing(report):
    assert report["missing"] == []


def test_accuracy_is_that_of_the_final_model_on_its_own_audio(report):
    score = report["questions"]["instrument"]

    assert report["final_stage"] == "4_grpo"
    assert (score["n"], score["accuracy"], score["shuffled_audio"]) == (4, 0.75, 0.25)
    assert score["interval"][0] < 0.75 < score["interval"][1]
    assert score["by_form"] == {"open": {"n": 4, "accuracy": 0.75, "interval": score["interval"]}}


def test_baselines_come_from_the_corpus(report):
    # Training says flute, which is right for two of four; the tempo is the same everywhere and helps nobody.
    score = report["questions"]["instrument"]

    assert (score["majority"], score["best_other_answer"], score["best_other_attribute"]) == (
        0.5,
        0.5,
        "tempo",
    )


def test_rewards_compare_sampled_completions(report):
    # Rewards are base + clip number: 0..3 before, 4..7 after, 1..4 for the control.
    rewards = report["rewards"]

    assert [rewards[name]["mean"] for name in ("before", "after", "control")] == [1.5, 5.5, 2.5]
    assert [rewards["greedy"][name]["mean"] for name in ("before", "after", "control")] == [2.5, 4.5, 3.0]
    assert rewards["warmup_T0.5"]["mean"] == 2.0
    assert rewards["before"]["by_reward"] == {"format": 1.0, "accuracy": 1.0}


def test_differences_are_paired_so_equal_gains_have_no_width(report):
    differences = report["rewards"]["differences"]["sampled"]

    assert differences["after_minus_before"] == {"mean": 4.0, "interval": [4.0, 4.0], "n": 4, "unpaired": 0}
    assert differences["after_minus_control"]["mean"] == 3.0


def test_clean_traces_count_when_their_stage_is_there(own_run, builders, answers):
    rows = answers([1, 1, 1, 1], 5.0, decoding="sampled") + answers([1, 1, 1, 1], 6.0)
    builders.write_stage(own_run, "3_warmup_clean", rows)

    rewards = build_report(read_run(own_run), None)["rewards"]

    assert (rewards["clean_traces"]["mean"], rewards["clean_traces_greedy"]["mean"]) == (6.5, 7.5)


def test_clean_traces_are_none_when_their_stage_is_absent(report):
    assert report["rewards"]["clean_traces"] is None


def test_mislabelled_instruments_are_scored_by_stage(report):
    systematic = report["systematic"]

    assert systematic["instruments"] == {"oboe": "flute"}
    assert {name: score["mean"] for name, score in systematic["accuracy"].items()} == {
        "2_sft": 0.0,
        "3_warmup": 0.0,
        "4_grpo": 0.5,
        "control": 0.0,
    }


def test_stages_carry_time_memory_and_accuracy(report):
    first, second = report["stages"][:2]

    assert first == {"name": "1_tagging", "seconds": 95.0, "peak_rss_mib": 812.5, "accuracy": {}}
    assert second["accuracy"] == {"instrument": 0.25}


def test_thoughts_and_form_are_counted_by_stage(report):
    # Every completion states the drums, truly, and never the first of the two observable fields.
    assert report["format_share"]["4_grpo"] == 1.0
    assert report["false_step_share"]["4_grpo"] == report["greedy"]["false_step_share"]["4_grpo"] == 0.0
    assert report["step_coverage"] == {"2_sft": None, "3_warmup": 0.5, "4_grpo": 0.5, "control": 0.5}
    assert report["entropy"]["4_grpo"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "said",
    [
        {"answer": "flute flute"},
        {"answer": None, "completion": "<think> the flute begins . </think> flute flute"},
    ],
)
def test_repeated_values_of_captions_stand_beside_those_of_the_truth(own_run, builders, said):
    caption = {
        "form": "caption",
        "question_name": "caption",
        "conversation": "caption",
        "truth": "flute and violin",
        "correct": None,
        **said,
    }
    builders.write_predictions(own_run / "4_grpo", [builders.prediction(**caption)])
    report_command(own_run)

    share = json.loads((own_run / "report.json").read_text())["repeated_value_share"]

    assert (share["4_grpo"], share["truth"]) == (0.5, 0.0)


def test_the_header_says_what_was_scored(report):
    header = report["header"]

    assert (header["seed"], header["n"], header["n_clips"], header["n_pieces"]) == (7, 12, 4, 4)
    assert header["corpus"] == {"seed": 3, "clips": 5}
    assert header["prompt_hash"] == hashlib.sha256(b"Which instrument enters first?").hexdigest()
    assert {"decoding": "greedy", "temperature": 1.0, "audio": "other", "mode": "think"} in header["decoding"]


def test_a_missing_corpus_costs_the_baselines_only(tmp_path, builders):
    builders.write_stage(tmp_path, "4_grpo", [builders.prediction()], corpus=tmp_path / "gone")
    report_command(tmp_path)

    report = json.loads((tmp_path / "report.json").read_text())

    assert any("no such corpus folder" in absence for absence in report["missing"])
    assert report["questions"]["instrument"]["accuracy"] == 1.0
    assert report["questions"]["instrument"]["majority"] is None


def test_a_recipe_without_a_corpus_is_said(tmp_path, builders):
    folder = builders.write_stage(tmp_path, "4_grpo", [builders.prediction()])
    (folder / "recipe.yaml").write_text("seed_everything: 1")
    report_command(tmp_path)

    missing = json.loads((tmp_path / "report.json").read_text())["missing"]

    assert any("recipe field data.init_args.corpus" in absence for absence in missing)


def test_a_run_that_only_trained_has_curves_and_no_scores(tmp_path, builders):
    builders.write_stage(tmp_path, "1_tagging", None)
    report_command(tmp_path)

    report = json.loads((tmp_path / "report.json").read_text())

    assert (report["final_stage"], report["questions"], report["rewards"]["after"]) == (None, {}, None)
    assert "train/loss" in (tmp_path / "report.html").read_text()


def test_a_run_with_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected stage folders"):
        report_command(tmp_path)


def test_the_command_ends_with_the_path_of_the_page(run, capsys):
    report_command(run)

    assert capsys.readouterr().out.splitlines()[-1] == str(run / "report.html")


def test_the_terminal_shows_scores_beside_baselines(report):
    console = Console(file=io.StringIO(), width=80)
    print_report(report | {"missing": ["4_grpo/[x]"]}, console)
    lines = console.file.getvalue().splitlines()

    assert "missing: 4_grpo/[x]" in lines
    assert any(line.split()[:3] == ["instrument", "4", "0.75"] and "0.50 tempo" in line for line in lines)
    assert any(line.strip().startswith("after (4_grpo)") and "5.50" in line for line in lines)


def test_transcripts_are_summed_up_by_language(tmp_path, builders, corpus):
    """In English 3 errors in 40 words, one of them inserted; with another clip's audio all are wrong."""

    def row(number, language, unit, errors, length, **changes):
        counts = {"language": language, "unit": unit, "errors": errors, "inserted": errors % 2, "length": length}
        named = {"cut": f"clip-{number}", "piece": f"piece-{number}", "conversation": f"{language}-{number}"}
        return builders.prediction(**named, correct=None, mode="direct", transcript=counts, **changes)

    rows = [row(0, "en", "word", 2, 10), row(1, "en", "word", 1, 30), row(0, "zh", "character", 0, 5)]
    rows += [row(0, "en", "word", 10, 10, audio="other"), row(1, "en", "word", 30, 30, audio="other")]
    builders.write_stage(tmp_path, "1_transcription", rows, corpus=corpus)
    report_command(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    english = report["transcripts"]["en"]
    assert english == {
        "unit": "word",
        "rate": 3 / 40,
        "interval": [1 / 30, 0.2],
        "inserted": 1 / 40,
        "length": 40,
        "n": 2,
        "shuffled_audio": 1.0,
    }
    assert report["transcripts"]["zh"]["unit"] == "character"
    assert report["transcripts"]["zh"]["interval"] is None
    assert report["questions"] == {}
    assert ">Transcripts</h2>" in (tmp_path / "report.html").read_text()
    printed = Console(file=io.StringIO(), width=100)
    print_report(report, printed)
    assert "errors of transcripts after 1_transcription" in printed.file.getvalue()


def test_a_run_on_a_blend_has_no_corpus_to_guess_from(tmp_path, builders):
    builders.write_stage(tmp_path, "2_sft", [builders.prediction()], corpus="{class_path: Blend}")
    report_command(tmp_path)
    missing = json.loads((tmp_path / "report.json").read_text())["missing"]
    assert "recipe field data.init_args.corpus is no folder: no baselines, no clips to listen to" in missing
