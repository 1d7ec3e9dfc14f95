"""The model card, as a person reads it."""

from geomm.packaging.card import model_card
from geomm.tasks import Detection
from tests.models.common import make_spec


def test_a_threshold_is_given_in_full():
    """Rounded to four digits it would be 1, from which on nothing is found."""
    card = model_card({}, make_spec(2), Detection(), {"val": {"AP50": 0.99997, "threshold": 0.99997}})
    assert "| AP50 | 1.0000 |" in card and "| threshold | 0.99997 |" in card
