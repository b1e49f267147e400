"""Each check, given a machine that is in order and one that is broken."""

from collections.abc import Iterable

import pytest

from music_flamingo.planning import checks
from music_flamingo.planning.checks import GIB, Diagnosis, Gpus

H200 = Gpus("12.8", ["H200"] * 8, [140 * GIB] * 8, "570.86")
NONE = Gpus()


def levels(diagnoses: Iterable[Diagnosis]) -> list[str]:
    return [each.level for each in diagnoses]


def problem(diagnoses: Iterable[Diagnosis]) -> str:
    """Of the only line: what was found and what to do."""
    (only,) = diagnoses
    assert only.level == "problem"
    return f"{only.found}; {only.remedy}"


def test_versions_are_those_required() -> None:
    required = ["torch>=2.13", "lightning>=2.6.6,!=2.6.2", "never-here>=1; python_version < '3'"]
    assert levels(checks.check_versions({"torch": "2.13.0+cpu", "lightning": "2.6.6"}, required)) == ["ok"]


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({}, "torch is not installed; pip install 'torch>=2.13'"),
        ({"torch": "2.9.1"}, "torch 2.9.1, expected >=2.13; pip install 'torch>=2.13'"),
    ],
)
def test_a_missing_or_old_package_is_named_with_what_installs_it(installed: dict[str, str], told: str) -> None:
    assert problem(checks.check_versions(installed, ["torch>=2.13"])) == told


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_lightning_that_was_malware_is_called_that(version: str) -> None:
    told = problem(checks.check_versions({"lightning": version}, ["lightning>=2.6.6,!=2.6.2,!=2.6.3"]))
    assert told.startswith(f"lightning {version} was malware on PyPI; remove it, renew every credential")


def test_versions_other_than_the_tested_ones_are_a_warning() -> None:
    text = "# what\ntorch==2.13.0\npeft==0.21.2\nelsewhere==1\n"
    assert levels(checks.check_pins({"torch": "2.13.0+cpu", "peft": "0.21.2"}, text)) == ["ok"]
    (told,) = checks.check_pins({"torch": "2.14.0", "peft": "0.21.2"}, text)
    assert (told.level, told.found) == ("warning", "torch 2.14.0 instead of 2.13.0")


def test_gpus_are_told_and_their_absence_is_no_problem() -> None:
    (told,) = checks.check_gpus(H200)
    assert (told.level, told.found) == ("ok", "8 x H200, 140 GiB, CUDA 12.8, driver 570.86")
    assert levels(checks.check_gpus(NONE)) == ["ok"]


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        (Gpus(None, driver="570.86"), "torch is built without CUDA"),
        (Gpus("12.8", driver="470.1"), "torch sees no device"),
    ],
)
def test_a_driver_without_a_torch_that_uses_it_is_a_problem(gpus: Gpus, told: str) -> None:
    assert told in problem(checks.check_gpus(gpus))


def test_an_old_gpu_is_told_to_train_in_float32() -> None:
    (told,) = checks.check_gpus(Gpus("12.8", ["T4"], [15 * GIB], "570.86", has_bfloat16=False))
    assert told.level == "warning"
    assert "32-true" in told.remedy


def test_flash_attention_of_another_interface_is_a_problem() -> None:
    assert levels(checks.check_flash_attention(NONE, None)) == ["ok"]
    assert levels(checks.check_flash_attention(H200, None)) == ["ok"]
    assert levels(checks.check_flash_attention(H200, "2.8.3")) == ["ok"]
    assert "flash-attn 2.6.1, expected 2.8" in problem(checks.check_flash_attention(H200, "2.6.1"))


def test_collectives_that_fail_say_which_variable_to_look_at() -> None:
    assert levels(checks.check_collectives(H200, None, has_nccl=True)) == ["ok", "ok"]
    assert levels(checks.check_collectives(NONE, None, has_nccl=False)) == ["ok"]
    assert levels(checks.check_collectives(H200, None, has_nccl=False)) == ["ok", "problem"]
    assert "GLOO_SOCKET_IFNAME" in problem(checks.check_collectives(NONE, "no such interface", has_nccl=False))


def test_disks_that_are_full_or_closed_are_problems() -> None:
    assert levels(checks.check_disk("runs", 100 * GIB, None)) == ["ok"]
    assert levels(checks.check_disk("runs", 5 * GIB, None)) == ["warning"]
    assert problem(checks.check_disk("runs", GIB // 2, None)).startswith("runs: 0.5 GiB free; free some")
    assert "runs: Permission denied; give another" in problem(checks.check_disk("runs", 100 * GIB, "Permission denied"))


def test_a_slow_disk_is_a_warning_and_one_that_could_not_be_written_no_second_line() -> None:
    assert levels(checks.check_fsync(0.006)) == ["ok"]
    assert levels(checks.check_fsync(2.0)) == ["warning"]
    assert levels(checks.check_fsync(None)) == []


def test_a_corpus_is_as_bad_as_its_worst_song() -> None:
    assert levels(checks.check_corpus("songs", 10, [])) == ["ok"]
    assert levels(checks.check_corpus("songs", 10, [("warning", "clipped")])) == ["warning"]
    assert problem(checks.check_corpus("songs", 0, [])).startswith("songs: no songs")
    told = problem(checks.check_corpus("songs", 10, [("warning", "clipped"), ("error", "a.wav: missing")]))
    assert told.startswith("1 errors, the first: a.wav: missing; music-flamingo data check songs")


def test_damaged_checkpoints_are_named() -> None:
    assert levels(checks.check_checkpoints("run", {})) == ["ok"]
    assert levels(checks.check_checkpoints("run", {"b": True, "a": True})) == ["ok"]
    (told,) = checks.check_checkpoints("run", {"b": False, "a": True})
    assert (told.level, told.found) == ("warning", "run: damaged: b")
    assert "--fresh" in problem(checks.check_checkpoints("run", {"b": False}))
