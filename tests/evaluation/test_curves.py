import math
from xml.etree import ElementTree as ET

import pytest

from music_flamingo.evaluation.curves import Curve, curve_svg, moving_average, read_curves, thin


def test_scalars_are_read_key_quantities_first(tmp_path, builders):
    builders.write_scalars(tmp_path / "a", {"lr-Adam": [(0, 0.5)], "train/kl": [(3, 1.0)], "train/loss": [(1, 2.0)]})

    curves = read_curves(tmp_path)

    assert [curve.tag for curve in curves] == ["train/loss", "train/kl", "lr-Adam"]
    assert [curve.is_key for curve in curves] == [True, True, False]
    assert (curves[0].steps, curves[0].values) == ((1,), (2.0,))


def test_the_spread_of_a_reward_is_a_detail():
    assert Curve("train/reward", (), ()).is_key
    assert not Curve("train/reward_std", (), ()).is_key


def test_a_resumed_stage_continues_its_curve_and_the_later_value_of_a_step_counts(tmp_path, builders):
    builders.write_scalars(tmp_path / "version_1", {"train/loss": [(1, 8.0), (2, 7.0)]}, wall_time=20.0)
    builders.write_scalars(tmp_path / "version_0", {"train/loss": [(0, 9.0), (1, 5.0)]}, wall_time=10.0)

    (curve,) = read_curves(tmp_path)

    assert (curve.steps, curve.values) == ((0, 1, 2), (9.0, 8.0, 7.0))


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path, builders):
    builders.write_scalars(tmp_path, {"train/loss": [(0, 1.0), (1, math.nan), (2, math.inf)]})

    (curve,) = read_curves(tmp_path)

    assert (curve.values, curve.num_not_finite) == ((1.0,), 2)


def test_no_events_give_no_curves(tmp_path):
    assert read_curves(tmp_path / "nowhere") == []


def test_moving_average_takes_what_there_is_at_the_ends():
    assert moving_average([0.0, 3.0, 6.0], 3) == [1.5, 3.0, 4.5]


def test_thinning_averages_equal_runs():
    assert thin([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)], 2) == [(0.5, 2.0), (2.5, 6.0)]


def test_few_points_are_not_thinned():
    assert thin([(0, 1.0), (1, 3.0)], 2) == [(0, 1.0), (1, 3.0)]


def test_the_drawing_spans_its_box():
    svg = ET.fromstring(str(curve_svg(Curve("train/loss", (0, 10), (2.0, 1.0)))))

    raw = next(line for line in svg.iter("polyline") if line.get("class") == "raw")

    assert raw.get("points") == "46.0,8.0 312.0,110.0"


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0)])
def test_a_flat_curve_is_drawn_in_the_middle(values):
    assert 'points="46.0,59.0 312.0,59.0"' in curve_svg(Curve("train/kl", (0, 1), values))


def test_a_single_point_is_a_dot():
    assert curve_svg(Curve("val/loss", (5,), (0.3,))).count("<circle") == 2


def test_a_curve_without_values_says_so():
    assert "no finite values" in curve_svg(Curve("train/loss", (), (), num_not_finite=3))


def test_a_tag_is_escaped():
    assert "<b>" not in curve_svg(Curve("<b>", (0,), (1.0,)))
