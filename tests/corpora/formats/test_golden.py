"""Each published format, by a small sample written from its description."""

from pathlib import Path

from tests.corpora.formats.folders import GOLDEN, import_all, left_out, record_of_import, write_sounds


def test_music_flamingo_conversations(tmp_path: Path) -> None:
    write_sounds(tmp_path, "songs/a.wav")
    (cut,) = import_all("hf", GOLDEN / "music_flamingo.json", tmp_path / "corpus", tmp_path)
    assert cut.id == "songs/a.wav"
    assert cut.custom["piece"] == "songs/a.wav"
    assert cut.custom["source"] == "music_flamingo"
    question, caption = cut.custom["conversations"]
    assert question == {
        "id": "mf-1",
        "task": "qa",
        "question_name": "attribute identification",
        "form": "multiple_choice",
        "question": "Which instrument carries the melody? Choose the correct option from the following options:\n"
        "(A) banjo.\n(B) fingerstyle acoustic guitar.\n(C) mandolin.",
        "answer": "fingerstyle acoustic guitar",
        "thoughts": "I hear plucked nylon strings, one note at a time.",
        "bridge": "Hence, the final answer is:",
        "options": ["banjo", "fingerstyle acoustic guitar", "mandolin"],
    }
    assert caption == {
        "id": "mf-2",
        "task": "caption",
        "question_name": "caption",
        "form": "caption",
        "question": "Describe this track in full detail.",
        "answer": "An Americana ballad in G minor at 125 BPM.",
        "thoughts": "A slow 4/4, one voice.",
        "metadata": {"Genre": "Americana", "BPM": "125", "Instruments": "acoustic guitar, banjo"},
        "licence": "non-commercial",
    }


def test_audio_flamingo_3_keeps_all_turns_and_all_sounds(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    alone, pair = import_all("af3", GOLDEN / "audio_flamingo_3.json", tmp_path / "corpus", tmp_path)
    assert (alone.id, alone.duration) == ("a.wav", 1.0)
    assert [each["id"] for each in alone.custom["conversations"]] == ["x1", "x1-2"]
    assert alone.custom["conversations"][0]["follow_ups"] == [{"question": "And what follows?", "answer": "Drums."}]
    assert pair.id == "a.wav+b.wav"
    assert pair.custom["sound_2"].sources[0].source == str(tmp_path / "b.wav")
    (asked,) = pair.custom["conversations"]
    assert asked["question"] == "<sound-1>\nThis is one. <sound-2>\nIs this one louder?"
    assert asked["form"] == "binary"
    assert left_out(tmp_path / "corpus") == {"text only": 1}
    assert record_of_import(tmp_path / "corpus")["left_out"]["text only"]["examples"] == ["audio_flamingo_3.json:3"]


def test_audio_flamingo_2_cuts_excerpts_and_reads_options_from_prompts(tmp_path: Path) -> None:
    write_sounds(tmp_path, "clips/a.wav")
    excerpt, whole = import_all("af2", GOLDEN / "MusicSet-AQA", tmp_path / "corpus", tmp_path)
    assert (excerpt.id, excerpt.start, excerpt.duration) == ("clips/a.wav#0.25-0.75", 0.25, 0.5)
    assert excerpt.recording.duration == 1.0
    assert excerpt.load_audio().shape == (1, 4000)
    choice, binary = excerpt.custom["conversations"]
    assert choice["question"] == "What is heard? (A) flute. (B) drum kit. (C) D. (D) choir."
    assert choice["options"] == ["flute", "drum kit", "D", "choir"]
    assert (choice["answer"], choice["answer_letter"]) == ("drum kit", "B")
    assert (choice["id"], choice["question_name"], choice["form"]) == ("0", "MusicSet-AQA", "multiple_choice")
    assert (binary["form"], binary["answer"]) == ("binary", "no")
    assert (whole.id, whole.start, whole.duration) == ("clips/a.wav", 0.0, 1.0)
    assert whole.custom["source"] == "MusicSet-AQA"


def test_music_skills_lists(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    cuts = import_all("tinymu", GOLDEN / "music_skills.json", tmp_path / "corpus", tmp_path)
    asked = {cut.id: cut.custom["conversations"] for cut in cuts}
    binary, caption = asked["a.wav"]
    assert (binary["question_name"], binary["form"], binary["answer"]) == ("Binary", "binary", "yes")
    assert (caption["task"], caption["form"], caption["question_name"]) == ("caption", "caption", "Captioning")
    assert caption["source"] == "LP-MusicCaps-MC"
    assert {cut.custom["source"] for cut in cuts} == {"MusicCaps"}
    (choice,) = asked["b.wav"]
    assert (choice["answer"], choice["options"]) == ("drums", ["flute", "drums"])


def test_chat_messages_with_audio_parts(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav")
    cuts = import_all("chat", GOLDEN / "chat_messages.jsonl", tmp_path / "corpus", tmp_path)
    asked = {cut.id: cut.custom["conversations"] for cut in cuts}
    (waltz,) = asked["a.wav"]
    assert (waltz["system"], waltz["question"], waltz["answer"]) == ("You know music.", "What is it?", "A waltz.")
    assert waltz["follow_ups"] == [{"question": "Why?", "answer": "It is in three."}]
    assert asked["a.wav+b.wav"][0]["question"] == "<sound-1>\nCompare with\n<sound-2>"
    assert (asked["b.wav"][0]["question"], asked["b.wav"][0]["answer"]) == ("Which key?", "D minor")
    assert asked["b.wav"][0]["id"] == "b.wav-0"
    assert asked["b.wav+a.wav"][0]["question"] == "<sound-1>\n<sound-2>\nWhich is louder?"
    assert left_out(tmp_path / "corpus") == {
        "audio embedded in the record": 1,
        "another number of sounds than of audio parts": 1,
        "a part of type image": 1,
    }


def test_a_table_of_questions_and_captions(tmp_path: Path) -> None:
    write_sounds(tmp_path, "a.wav", "b.wav", "c.wav")
    cuts = import_all("csv", GOLDEN / "table.csv", tmp_path / "corpus", tmp_path)
    asked = {cut.id: cut.custom["conversations"] for cut in cuts}
    assert {cut.custom["piece"] for cut in cuts} == {"Piece 1"}
    (mood,) = asked["a.wav"]
    assert (mood["options"], mood["form"], mood["mood"]) == (["calm", "wild"], "multiple_choice", "7")
    assert [(each["form"], each["answer"]) for each in asked["b.wav"]] == [
        ("caption", "A wild dance."),
        ("binary", "Yes."),
        ("caption", "Fast, wild."),
    ]
    assert left_out(tmp_path / "corpus") == {"no answer": 1}
