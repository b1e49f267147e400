import pytest

from music_flamingo.evaluation.baselines import AskedQuestion, asked_questions, baselines, exact_agreement


def question(answer, *, name="instrument", form="open", options=(), claim=None, answer_type="text", **known):
    return AskedQuestion(
        conversation="c",
        question_name=name,
        form=form,
        answer=answer,
        answer_type=answer_type,
        options=tuple(options),
        claim=claim,
        known=known,
    )


def test_the_majority_is_the_most_frequent_training_answer():
    train = [question("flute"), question("flute"), question("oboe")]
    test = [question("flute"), question("oboe"), question("oboe"), question("oboe")]

    assert baselines(train, test).majority == 0.25


def test_options_limit_the_guess():
    train = [question("flute", form="multiple_choice"), question("flute", form="multiple_choice")]
    train += [question("oboe", form="multiple_choice")]
    test = [question("oboe", form="multiple_choice", options=["oboe", "piano"])]

    assert baselines(train, test).majority == 1.0


def test_forms_are_learned_apart():
    train = [question("no", form="binary")] * 3 + [question("flute")]
    test = [question("flute"), question("no", form="binary")]

    assert baselines(train, test).majority == 1.0


def test_another_answer_of_the_clip_gives_this_one_away():
    train = [
        question("flute", texture="solo"),
        question("oboe", texture="duet"),
        question("oboe", texture="duet"),
    ]
    test = [question("flute", texture="solo"), question("oboe", texture="duet")]

    result = baselines(train, test)

    assert (result.majority, result.best_other_answer, result.best_other_attribute) == (0.5, 1.0, "texture")


def test_the_absence_of_an_answer_is_known_too():
    train = [question("jig", name="dance", chord="G major"), question("reel", name="dance")]
    train += [question("jig", name="dance", chord="C major")]
    test = [question("reel", name="dance")]

    result = baselines(train, test)

    assert (result.majority, result.best_other_answer, result.best_other_attribute) == (0.0, 1.0, "chord")


def test_a_value_training_never_met_falls_back_on_the_majority():
    train = [question("flute", meter="3/4"), question("flute", meter="4/4"), question("oboe", meter="4/4")]

    assert baselines(train, [question("flute", meter="6/8")]).best_other_answer == 1.0


def test_synonyms_are_not_guessed_from():
    train = [question("fast", name="tempo", tempo="fast", bpm="130")]

    result = baselines(train, [question("fast", name="tempo", tempo="fast", bpm="130")])

    assert (result.best_other_answer, result.best_other_attribute) == (None, None)


def test_a_claim_and_another_answer_settle_a_yes_or_no():
    def binary(answer, claim, chord):
        return question(answer, name="key", form="binary", options=["yes", "no"], claim=claim, chord=chord)

    train = [binary("yes", "G major", "G"), binary("no", "G major", "C"), binary("no", "A minor", "G")]
    test = [binary("yes", "G major", "G"), binary("no", "A minor", "G")]

    result = baselines(train, test)

    assert (result.majority, result.best_other_answer) == (0.5, 1.0)


def test_a_number_near_many_answers_beats_the_most_frequent_one():
    train = [question(bpm, name="bpm", answer_type="bpm") for bpm in ("60", "60", "100", "101", "102")]

    assert baselines(train, [question("102", name="bpm", answer_type="bpm")]).majority == 1.0


@pytest.mark.parametrize("train", [[], [question("yes", name="drums")]])
def test_nothing_learned_is_nothing_scored(train):
    assert baselines(train, [question("flute")]).majority is None


def test_agreement_is_that_of_the_exact_reward():
    agrees = exact_agreement()

    assert agrees("100", "103", "bpm")
    assert not agrees("100", "110", "bpm")
    assert agrees("The Flute", "flute", "text")


def test_captions_ask_nothing(builders):
    known = builders.custom(first="oboe", tempo="slow")
    for number, conversation in enumerate(known["conversations"]):
        conversation["id"] = str(number)

    asked = asked_questions(known)

    assert [each.question_name for each in asked] == ["instrument", "tempo"]
    assert asked[0].known == {"instrument": "oboe", "tempo": "slow"}
