import gzip
import io
import itertools
import json
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording
from lhotse.cut import Cut
from lhotse.shar import SharWriter
from lhotse.utils import fastcopy

from music_flamingo.cli import run
from music_flamingo.corpora import places
from music_flamingo.corpora.index_file import Arrays, map_arrays, write_arrays
from music_flamingo.corpora.shar import build, index
from music_flamingo.corpora.shar.build import shar_command
from music_flamingo.corpora.shar.index import make_index
from music_flamingo.corpora.shar.members import list_members
from music_flamingo.corpora.song_audio import load_waveform, sounds_of
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from tests.builders import write_corpus


def own_samples(cut: Cut) -> np.ndarray:
    return cut.load_audio().mean(axis=0)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five training songs; the last is a part of a stereo file, and the second has a second sound."""
    folder = write_corpus(tmp_path / "corpus", train=5, held_out=1, seconds=0.5)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100, 2))
    soundfile.write(folder / "audio" / "stereo.wav", noise, 44_100)
    manifest = folder / "cuts_train.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(manifest.read_bytes()).splitlines()]
    stereo = Recording.from_file(folder / "audio" / "stereo.wav")
    stereo.sources[0].source = "audio/stereo.wav"
    lines[1]["custom"]["sound_2"] = stereo.to_dict()
    lines[4] |= {"recording": stereo.to_dict(), "start": 0.25, "duration": 0.5, "channel": [0, 1], "type": "MultiCut"}
    manifest.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return folder


@pytest.fixture
def stored(corpus: Path, tmp_path: Path) -> Path:
    shar_command(str(corpus), tmp_path / "stored", shard_size=2)
    return tmp_path / "stored"


def test_a_stored_corpus_holds_the_same_songs(corpus: Path, stored: Path) -> None:
    given, songs = open_songs(corpus, "train"), open_songs(stored, "train")
    assert len(songs) == 5
    assert songs.durations.tolist() == [0.5] * 5
    for number in (4, 0, 2, 3, 1):
        theirs, ours = given[number], songs[number]
        assert (ours.id, ours.start, ours.duration) == (theirs.id, theirs.start, theirs.duration)
        custom = {name: value for name, value in ours.custom.items() if name not in {"shar", "sound_2"}}
        assert custom == {name: value for name, value in theirs.custom.items() if name != "sound_2"}
        np.testing.assert_array_equal(load_waveform(ours, 16_000), load_waveform(theirs, 16_000))
    assert (stored / "vocabulary.json").read_bytes() == (corpus / "vocabulary.json").read_bytes()


def test_lhotse_reads_the_same_songs(corpus: Path, stored: Path) -> None:
    theirs = list(CutSet.from_shar(in_dir=stored / "train"))
    given = list(open_songs(corpus, "train"))
    assert [cut.id for cut in theirs] == [cut.id for cut in given]
    for their, ours in zip(theirs, given, strict=True):
        np.testing.assert_array_equal(own_samples(their), own_samples(ours))
    np.testing.assert_array_equal(theirs[1].load_sound_2(), given[1].load_sound_2())


@pytest.mark.parametrize(("audio", "likeness"), [("flac", 1 - 1e-6), ("opus", 0.9)])
def test_audio_can_be_encoded_anew(corpus: Path, tmp_path: Path, audio: str, likeness: float) -> None:
    shar_command(str(corpus), tmp_path / "out", audio=audio)  # type: ignore[arg-type]
    for given, ours, theirs in zip(
        open_songs(corpus, "train"),
        open_songs(tmp_path / "out", "train"),
        CutSet.from_shar(in_dir=tmp_path / "out" / "train"),
        strict=True,
    ):
        assert ours.duration == given.duration
        assert ours.start == 0
        assert np.corrcoef(load_waveform(ours, 16_000), load_waveform(given, 16_000))[0, 1] > likeness
        np.testing.assert_allclose(load_waveform(theirs, 16_000), load_waveform(ours, 16_000), atol=1e-6)
    encoding = soundfile.info(io.BytesIO(theirs.recording.sources[0].source))
    assert (encoding.subtype, encoding.channels) == ({"flac": "PCM_16", "opus": "OPUS"}[audio], 2)


def test_a_cut_stays_small_until_it_is_listened_to(stored: Path) -> None:
    songs = open_songs(stored, "train")
    assert len(pickle.dumps(songs)) < 500
    sent = pickle.loads(pickle.dumps(songs))
    assert [cut.to_dict() for cut in sent] == [cut.to_dict() for cut in songs]
    line = (stored / "train" / "cuts.000000.jsonl").read_bytes().splitlines()[0]
    assert len(json.dumps(songs[0].to_dict())) < len(line) + 400


def test_a_song_behind_a_url_is_one_request(corpus: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.put(str(stored / "train"), "/songs/train", recursive=True)
    songs = open_songs("memory://songs", "train")
    requests = []
    read = type(memory).cat_file
    monkeypatch.setattr(type(memory), "cat_file", lambda *a, **k: (requests.append((a[1], k)), read(*a, **k))[1])
    cut = songs[3]
    assert len(requests) == 1
    np.testing.assert_array_equal(load_waveform(cut, 16_000), load_waveform(open_songs(corpus, "train")[3], 16_000))
    assert [path for path, _ in requests] == ["/songs/train/cuts.000001.jsonl", "/songs/train/recording.000001.tar"]
    assert len(pickle.loads(pickle.dumps(songs))) == 5


def test_a_url_without_songs_is_named() -> None:
    with pytest.raises(
        UserError,
        match="expected the train cuts in memory://nowhere/cuts_train.jsonl.gz, which does not exist",
    ):
        open_songs("memory://nowhere", "train")


def test_further_sounds_are_fetched_when_they_are_listened_to(corpus: Path, stored: Path) -> None:
    ours, theirs = (sounds_of(open_songs(folder, "train")[1]) for folder in (stored, corpus))
    assert [sound.id for sound in ours] == ["train-1", "train-1-sound_2"]
    for mine, given in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(load_waveform(mine, 16_000), load_waveform(given, 16_000))
    assert len(sounds_of(open_songs(stored, "train")[0])) == 1


def test_what_is_stored_can_be_stored_again(stored: Path, tmp_path: Path) -> None:
    shar_command(str(stored), tmp_path / "again", shard_size=3)
    for again, given in zip(open_songs(tmp_path / "again", "train"), open_songs(stored, "train"), strict=True):
        np.testing.assert_array_equal(load_waveform(again, 16_000), load_waveform(given, 16_000))


def test_a_run_killed_at_any_point_goes_on_to_the_same_result(
    corpus: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every renaming and every tar member is a point at which the run may end."""
    replace, add = Path.replace, tarfile.TarFile.addfile
    steps = itertools.count()
    killed_at = -1

    def step() -> None:
        if next(steps) == killed_at:
            raise KeyboardInterrupt

    def replacing(path: Path, target: Path) -> Path:
        step()
        return replace(path, target)

    def adding(*arguments: object) -> None:
        step()
        add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "replace", replacing)
    monkeypatch.setattr(tarfile.TarFile, "addfile", adding)
    shar_command(str(corpus), tmp_path / "out", shard_size=2)
    number = next(steps)
    assert number > 30
    for point in range(0, number, 6):
        shutil.rmtree(tmp_path / "out")
        steps, killed_at = itertools.count(), point
        with pytest.raises(KeyboardInterrupt):
            shar_command(str(corpus), tmp_path / "out", shard_size=2)
        killed_at = -1
        shar_command(str(corpus), tmp_path / "out", shard_size=2)
        assert tree(tmp_path / "out") == tree(stored)


def test_another_corpus_or_other_settings_do_not_go_on_with_a_run(corpus: Path, stored: Path) -> None:
    with pytest.raises(UserError, match=r"shar.json: expected what is to be stored now, got other shard_size: remove"):
        shar_command(str(corpus), stored, shard_size=3)
    write_corpus(corpus, train=2, held_out=1, seconds=0.5)
    with pytest.raises(UserError, match=r"got other songs, durations: remove"):
        shar_command(str(corpus), stored, shard_size=2)
    with pytest.raises(UserError, match="--out: expected another folder than the corpus"):
        shar_command(str(corpus), corpus)
    with pytest.raises(UserError, match="--shard_size: expected at least 1 song, got 0"):
        shar_command(str(corpus), stored, shard_size=0)


def published(folder: Path, corpus: Path) -> Path:
    """What lhotse itself writes: compressed cuts, no index."""
    (folder / "train").mkdir(parents=True)
    with SharWriter(str(folder / "train"), {"recording": "flac"}, shard_size=2, warn_unused_fields=False) as writer:
        for number, cut in enumerate(open_songs(corpus, "train")):
            if number == 2:
                cut = fastcopy(cut, recording=None)  # noqa: PLW2901
            cut.custom.pop("sound_2", None)
            writer.write(cut)
    return folder


@pytest.mark.parametrize("writable", [True, False])
def test_shards_of_others_are_indexed_when_they_are_first_opened(
    corpus: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    folder = published(tmp_path / "theirs", corpus)
    monkeypatch.setattr(index, "_can_write", lambda folder: writable)
    for _ in range(2):
        songs = open_songs(folder, "train")
        theirs = list(CutSet.from_shar(in_dir=folder / "train"))
        for number in (4, 1, 0, 3):
            np.testing.assert_array_equal(load_waveform(songs[number], 16_000), load_waveform(theirs[number], 16_000))
        with pytest.raises(UserError, match="cut train-2: expected a recording, got none"):
            load_waveform(songs[2], 16_000)
        monkeypatch.setattr(index, "make_index", None)  # not again
    assert (folder / "train.index").exists() == writable
    assert cache.exists() == (not writable)


def test_shards_may_be_links(corpus: Path, stored: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "val").symlink_to(stored / "val")
    (tmp_path / "linked" / "train").mkdir()
    for path in (stored / "train").iterdir():
        (tmp_path / "linked" / "train" / path.name).symlink_to(path)
    assert build.splits_of(str(tmp_path / "linked")) == ["train", "val"]
    assert len(open_songs(tmp_path / "linked", "train")) == 5


def test_shards_are_indexed_by_a_command(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = published(tmp_path / "theirs", corpus)
    run(["data", "shar-index", str(folder)])
    assert capsys.readouterr().out == "train: 5 songs in 3 shards, 0.0 hours\n"
    assert (folder / "train.index" / "songs.index").exists()
    with pytest.raises(UserError, match="expected the cuts of a corpus, got none"):
        run(["data", "shar-index", str(tmp_path / "nowhere")])


def test_an_index_in_the_cache_is_made_again_once_the_shards_change(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path / "theirs", corpus)
    monkeypatch.setattr(index, "_can_write", lambda folder: False)
    assert len(open_songs(folder, "train")) == 5
    for path in (folder / "train").glob("*.000002.*"):
        path.unlink()
    assert len(open_songs(folder, "train")) == 4


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: (f / "train/recording.000001.tar").write_bytes(b"x"),
            r"recording.000001.tar: expected .* got 1: copy",
        ),
        (lambda f: (f / "train/recording.000001.tar").unlink(), r"expected recording files for 3 cuts files, got 2"),
        (
            lambda f: [path.unlink() for path in (f / "train").glob("*.000002.*")],
            r"train: expected 3 shards, as its index says, got 2",
        ),
        (lambda f: shutil.copytree(f / "val.index", f / "train.index", dirs_exist_ok=True), r"expected 1 shards"),
        (lambda f: (f / "train.index/songs.index").write_bytes(b"x" * 99), r"songs.index: expected an index of songs"),
        (lambda f: (f / "cuts_train.jsonl").write_text(""), r"expected the train cuts once, got cuts_train.jsonl and"),
    ],
)
def test_a_split_that_is_not_as_its_index_says_is_named(
    stored: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(stored)
    with pytest.raises(UserError, match=message) as error:
        open_songs(stored, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda arrays: arrays.pop("recording.start"), "KeyError 'recording.start'"),
        (lambda arrays: arrays.update(duration=arrays["duration"][1:]), "arrays of different lengths"),
    ],
)
def test_an_index_that_lacks_something_is_named(stored: Path, change: Callable[[Arrays], object], got: str) -> None:
    path = stored / "train.index" / "songs.index"
    arrays, about = map_arrays(path)
    change(arrays)
    write_arrays(path, arrays, about)
    with pytest.raises(UserError, match=f"songs.index: expected an index of shards, got .*{got}"):
        open_songs(stored, "train")


def test_lines_that_were_kept_beside_the_index_and_changed_are_named(corpus: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "theirs", corpus)
    open_songs(folder, "train")
    (folder / "train.index" / "cuts.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"cuts.jsonl: expected \d+ bytes: remove"):
        open_songs(folder, "train")


@pytest.mark.parametrize("part", [0, 0.01, 0.05, 0.5, 0.9, 0.999])
def test_a_tar_file_cut_short_is_not_indexed(stored: Path, part: float) -> None:
    tar = stored / "train" / "recording.000000.tar"
    with tarfile.open(tar) as whole:
        end = whole.getmembers()[-1].offset_data + whole.getmembers()[-1].size
    tar.write_bytes(tar.read_bytes()[: int(part * end)])
    with pytest.raises(UserError, match=r"recording.000000.tar: expected (a whole tar file|two members for each of 2)"):
        make_index(str(stored / "train"))


def test_audio_of_other_cuts_is_not_indexed(stored: Path) -> None:
    shutil.copyfile(stored / "train" / "recording.000000.tar", stored / "train" / "recording.000001.tar")
    with pytest.raises(UserError, match=r"000001.tar: expected audio of cut train-2, got train-0.flac: it belongs to"):
        make_index(str(stored / "train"))


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: b"no gzip"])
def test_compressed_cuts_that_are_broken_are_named(corpus: Path, tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "theirs", corpus)
    cuts = folder / "train" / "cuts.000000.jsonl.gz"
    cuts.write_bytes(spoil(cuts.read_bytes()))
    with pytest.raises(UserError, match=r"cuts.000000.jsonl.gz: expected gzip-compressed cuts"):
        open_songs(folder, "train")


def test_a_line_cut_short_is_named(stored: Path) -> None:
    cuts = stored / "train" / "cuts.000001.jsonl"
    cuts.write_bytes(cuts.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cuts.000001.jsonl:2: expected a cut as JSON"):
        make_index(str(stored / "train"))


def test_a_tar_file_that_changes_under_an_open_corpus_is_named(stored: Path) -> None:
    songs = open_songs(stored, "train")
    tar = stored / "train" / "recording.000000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[:2_000])
    with pytest.raises(
        UserError, match=r"recording.000000.tar: expected \d+ bytes from byte \d+ on, got \d+: cut short"
    ):
        load_waveform(songs[1], 16_000)
    tar.write_bytes(b"\0" * len(data))
    with pytest.raises(UserError, match=r"recording.000000.tar: expected a recording at byte \d+, got \w+DecodeError"):
        load_waveform(songs[1], 16_000)
    tar.unlink()
    with pytest.raises(UserError, match=r"recording.000000.tar: expected a file that can be read"):
        load_waveform(songs[1], 16_000)


def member(**attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo("song.flac")
    for name, value in attributes.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    "info",
    [
        member(name="../song.flac"),
        member(name="a/../../song.flac"),
        member(name="/etc/song.flac"),
        member(name="//song.flac"),
        member(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(type=tarfile.LNKTYPE, linkname="other"),
        member(type=tarfile.CHRTYPE),
        member(type=tarfile.BLKTYPE),
        member(type=tarfile.FIFOTYPE),
        member(type=tarfile.DIRTYPE),
        member(pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": "9"}),
    ],
)
def test_members_that_lead_out_of_an_archive_or_are_no_files_are_refused(tmp_path: Path, info: tarfile.TarInfo) -> None:
    path = tmp_path / "recording.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(info)
    with pytest.raises(UserError, match=r"recording.tar: expected (names within|plain files).*do not trust this file"):
        list_members(str(path), path.stat().st_size)


def test_a_cut_whose_name_leads_out_of_an_archive_is_not_stored(corpus: Path, tmp_path: Path) -> None:
    manifest = corpus / "cuts_train.jsonl.gz"
    manifest.write_bytes(gzip.compress(gzip.decompress(manifest.read_bytes()).replace(b'"train-1"', b'"../train-1"')))
    with pytest.raises(UserError, match=re.escape("cut ../train-1: expected names within the archive")):
        shar_command(str(corpus), tmp_path / "out")


def test_audio_that_cannot_be_stored_is_named(corpus: Path, tmp_path: Path) -> None:
    (corpus / "audio" / "train-1.flac").unlink()
    with pytest.raises(UserError, match=r"train-1.flac: expected audio to store as original, got .*: repair or remove"):
        shar_command(str(corpus), tmp_path / "out")


def test_a_split_without_songs_is_stored_too(corpus: Path, tmp_path: Path) -> None:
    CutSet([]).to_file(corpus / "cuts_val.jsonl.gz")
    shar_command(str(corpus), tmp_path / "out")
    assert list(open_songs(tmp_path / "out", "val")) == []
    assert build.splits_of(str(tmp_path / "out")) == ["test", "train", "val"]


def test_a_folder_that_cannot_be_listed_is_named() -> None:
    with pytest.raises(UserError, match="nonsense://songs: expected a folder that can be listed"):
        places.file_sizes("nonsense://songs")
