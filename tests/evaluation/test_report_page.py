import json
import re
from html.parser import HTMLParser

import pytest

from music_flamingo.evaluation.report import report_command

VOID = {"meta", "path", "line", "polyline", "circle", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag, **attributes):
        wanted = attributes.items()
        return [found for name, found in self.elements if name == tag and wanted <= found.items()]


@pytest.fixture
def render(tmp_path, builders):
    """Writes a run whose final stage has these predictions on a corpus of `clips` clips; returns the page."""

    def write(rows, clips=1):
        corpus = builders.write_corpus(tmp_path / "corpus", [builders.custom()], [builders.custom()] * clips)
        builders.write_stage(tmp_path / "run", "4_grpo", rows, corpus=corpus)
        report_command(tmp_path / "run")
        return (tmp_path / "run" / "report.html").read_text()

    return write


def many(builders, count):
    return [
        builders.prediction(cut=f"clip-{n}", conversation=f"clip-{n}-instrument-open", correct=n % 2 == 0)
        for n in range(count)
    ]


def test_twenty_clips_can_be_heard(render, builders):
    page = Page(render(many(builders, 24), clips=24))

    assert len(page.all("audio")) == 20
    assert len({audio["src"] for audio in page.all("audio")} - {""}) >= 1
    assert all(audio["src"].startswith("data:audio/") for audio in page.all("audio"))


def test_every_tag_is_closed(render, builders):
    assert Page(render(many(builders, 3), clips=3)).open == []


def test_nothing_is_fetched(render, builders):
    text = render(many(builders, 2), clips=2)
    addresses = [
        value
        for _, attributes in Page(text).elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "poster", "action", "data")
    ]

    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?:|src=.?//|url\(|@import|fetch\(|XMLHttpRequest|WebSocket", text)
    assert "default-src 'none'" in text


def test_text_from_the_data_is_escaped(render, builders):
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    names = ("answer", "think", "truth", "why", "question", "piece", "question_name", "completion")
    row = builders.prediction(**dict.fromkeys(names, attack), options=[attack, "other"])
    row["steps"] = [{"field": attack, "value": attack, "true": False}]
    row["rewards"] = {attack: 1.0}

    page = Page(render([row]))

    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert page.all("article", **{"data-question": attack})


def test_a_step_is_marked_true_or_false(render, builders):
    steps = [
        {"field": "drums", "value": "drums", "true": True},
        {"field": "tempo", "value": "slow", "true": False},
        {"field": "", "value": "", "true": None, "raw": "a kazoo enters"},
    ]
    text = render([builders.prediction(steps=steps)])

    assert "✓ drums: drums" in text
    assert "✗ tempo: slow" in text
    assert ">a kazoo enters<" in text
    assert "not said: first instrument flute" in text


def test_a_clip_shows_what_happens_when(render, builders):
    page = Page(render([builders.prediction()]))

    ticks = [tick["style"] for tick in page.all("span", **{"class": "tick"})]

    assert ticks == ["left:0.0%", "left:50.0%", "left:75.0%", "left:25.0%"]


def test_options_are_listed_unless_the_question_spells_them_out(render, builders):
    spelled = builders.prediction(question="Pick one:\n- A. flute\n- B. oboe", options=["flute", "oboe"])
    bare = builders.prediction(conversation="x", cut="clip-1", options=["tuba", "harp"])

    text = render([spelled, bare], clips=2)

    assert "· tuba · harp" in text
    assert "· flute" not in text


def test_a_missing_answer_shows_the_completion(render, builders):
    text = render([builders.prediction(answer=None, correct=False, completion="<think> flute flute")])

    assert "none found in:</span> &lt;think&gt; flute flute" in text


def test_a_clip_without_sound_is_still_shown(render, builders):
    page = Page(render([builders.prediction(cut="elsewhere")]))

    assert len(page.all("article")) == 1
    assert page.all("audio") == []


def test_sound_stops_where_the_page_would_grow_too_large(render, builders, monkeypatch):
    monkeypatch.setattr("music_flamingo.evaluation.report_page._AUDIO_BUDGET_BYTES", 100)

    assert "Sound left out" in render([builders.prediction()])


def test_a_bar_spans_its_interval(render, builders):
    rows = [builders.prediction(conversation=str(n), piece=str(n), cut=f"clip-{n}", correct=n > 0) for n in range(2)]
    page = Page(render(rows, clips=2))

    assert page.all("span", **{"class": "fill"})[0]["style"] == "width:50.0%"
    assert page.all("span", **{"class": "range"})[0]["style"] == "left:0.0%;width:100.0%"


def test_what_is_missing_is_said(tmp_path, builders):
    builders.write_stage(tmp_path, "2_sft", None)
    report_command(tmp_path)

    text = (tmp_path / "report.html").read_text()

    assert "stage folder 4_grpo/" in text
    assert json.loads((tmp_path / "report.json").read_text())["final_stage"] is None
