"""Which place an address means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.inference.texts.places import Locator, address_names, great_circle_km, inner_names
from geomm.io.gazetteer import Candidate, GeonamesGazetteer, Place


@pytest.fixture(scope="module")
def locator():
    return Locator([GeonamesGazetteer()])


def where(located):
    return (located.place.name, located.place.region)


@pytest.mark.parametrize(
    "address, text, expected",
    [
        ("the 1200 block of Oak Street, Springfield, Missouri", "", ("Springfield", "Missouri")),
        ("Springfield, MA", "", ("Springfield", "Massachusetts")),
        ("downtown Springfield", "Sangamon County, Illinois. In downtown", ("Springfield", "Illinois")),
        ("Rochester, New York", "", ("Rochester", "New York")),
        ("500 State St, Rochester", "Minnesota State Patrol", ("Rochester", "Minnesota")),
        ("Paris", "", ("Paris", "")),
        ("Paris, Texas", "", ("Paris", "Texas")),
        ("900 Maple Street Madison", "", ("Madison", "Wisconsin")),
        ("Milwaukeee", "", ("Milwaukee", "Wisconsin")),
    ],
)  # fmt: skip
def test_addresses_are_placed(locator, address, text, expected):
    (found,) = locator.locate([address], text)
    assert where(found) == expected
    assert found.address == address and found.gazetteer == "geonames"
    assert 0 < found.confidence <= 1


def test_other_places_of_the_document_count(locator):
    alone, *_ = locator.locate(["Portland"], "")
    beside, *_ = locator.locate(["Portland", "Lewiston, Maine", "Bangor, Maine"], "")
    assert where(alone) == ("Portland", "Oregon")
    assert where(beside) == ("Portland", "Maine")


def test_a_name_that_tells_more_is_surer(locator):
    vague, sure = (locator.locate([name], "")[0] for name in ("Springfield", "Springfield, Missouri"))
    assert sure.confidence > 0.9 > vague.confidence


def test_what_nobody_knows_stays_without_a_place(locator):
    assert locator.locate(["behind the shed", "Toledo"], "")[0] is None
    assert locator.locate(["", "555"], "") == [None, None]
    assert locator.locate([], "") == []


class Known:
    """A gazetteer of one place."""

    def __init__(self, name, whole=False):
        self.name, self.whole, self.asked = name, whole, []

    def candidates(self, name):
        self.asked.append(name)
        return [Candidate(Place(self.name, 1.0, 2.0, "layer"), 95.0)] if self.name in name else []

    def exact(self, name):
        return []

    def areas(self, text):
        return {"regions": set(), "countries": set()}


def test_the_first_gazetteer_that_knows_is_believed():
    first, second = Known("Oak"), Known("Elm", whole=True)
    oak, elm = Locator([first, second]).locate(["9 Oak Street, Toledo", "3 Elm Street, Toledo"], "")
    assert (oak.gazetteer, elm.gazetteer) == ("Oak", "Elm")
    assert oak.matched == "Oak Street" and oak.likeness == 95
    assert second.asked == ["3 Elm Street, Toledo"]  # a service sees the whole address


def test_names_in_an_address():
    assert address_names("the 1200 block of Oak Street, Madison, Wisconsin") == [
        "Oak Street",
        "Madison",
        "Wisconsin",
    ]
    assert address_names("Oak St and Elm St; near Toledo") == ["Oak St", "Elm St", "Toledo"]
    assert inner_names("900 Maple Street El Paso")[0] == "Street El Paso"
    assert "El Paso" in inner_names("900 Maple Street El Paso")


def test_distances_are_known_ones():
    assert great_circle_km(52.52, 13.405, 48.8566, 2.3522) == pytest.approx(877.5, abs=1)
    assert great_circle_km(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.1)


coordinates = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(coordinates, coordinates)
def test_distance_is_symmetric_and_at_most_half_round(a, b):
    there, back = great_circle_km(*a, *b), great_circle_km(*b, *a)
    assert there == pytest.approx(back, abs=1e-6)
    assert 0 <= there <= 20015.2


class _Counting(GeonamesGazetteer):
    """Counts how often it looks through a text, and for a name."""

    def __init__(self):
        super().__init__()
        self.read = []

    def areas(self, text):
        self.read.append(text)
        return super().areas(text)


def test_a_long_document_is_looked_through_once_and_each_address_placed_once():
    gazetteer = _Counting()
    addresses, text = ["Portland", "Bangor, Maine"] * 50, "a long report"
    found = Locator([gazetteer]).locate(addresses, text)
    assert sorted(gazetteer.read) == sorted(["Portland", "Bangor, Maine", text])
    assert [item.address for item in found] == addresses
    assert found[::2] == [found[0]] * 50 and where(found[0]) == ("Portland", "Maine")
