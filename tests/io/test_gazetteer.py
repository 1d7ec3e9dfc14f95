"""Gazetteers: geonames offline, the user's own layer, and services without a network."""

import geopandas
import pytest
from pyproj import Transformer
from shapely import LineString, Point

from geomm.errors import ConfigError, DataError, GeommError
from geomm.io.gazetteer import GeonamesGazetteer, LayerGazetteer, plain_name
from geomm.io.geocoding import ServiceGazetteer


@pytest.fixture(scope="module")
def geonames():
    return GeonamesGazetteer()


def test_names_are_compared_plainly():
    assert plain_name("São  Tomé, St.-Étienne") == "sao tome st etienne"
    assert plain_name("Straße") == "strasse"


def test_a_city_is_where_it_is(geonames):
    best = geonames.candidates("Toledo")[0].place
    assert (best.country, best.region, best.kind) == ("US", "Ohio", "city")
    assert (best.latitude, best.longitude) == pytest.approx((41.66, -83.55), abs=0.05)
    assert {c.place.country for c in geonames.candidates("Toledo")} >= {"US", "ES"}


def test_other_names_and_misspelt_ones_are_found(geonames):
    assert geonames.candidates("Köln")[0].place.name == "Köln"
    assert geonames.candidates("Cologne")[0].place.name == "Köln"
    misspelt = geonames.candidates("Milwaukeee")
    assert misspelt[0].place.name == "Milwaukee" and 85 <= misspelt[0].likeness < 100
    assert geonames.candidates("Xyzzyville") == ()
    assert geonames.exact("Milwaukeee") == ()


def test_countries_and_states_are_where_their_people_are(geonames):
    germany = next(c.place for c in geonames.candidates("Germany") if c.place.kind == "country")
    assert (germany.latitude, germany.longitude) == pytest.approx((51, 10), abs=1.5)
    fiji = next(c.place for c in geonames.candidates("Fiji") if c.place.kind == "country")
    assert abs(fiji.longitude) > 177  # across the antimeridian
    ohio = next(c.place for c in geonames.candidates("Ohio") if c.place.kind == "region")
    assert (ohio.latitude, ohio.longitude) == pytest.approx((40.3, -82.8), abs=0.7)


def test_areas_of_a_text(geonames):
    assert geonames.areas("Springfield, Illinois") == {"regions": {"Illinois"}, "countries": {"US"}}
    assert geonames.areas("Peoria, AZ and Paris, France") == {
        "regions": {"Arizona"},
        "countries": {"US", "FR"},
    }
    assert geonames.areas("an Ohioan, OK") == {"regions": {"Oklahoma"}, "countries": {"US"}}
    assert geonames.areas("OR else") == {"regions": set(), "countries": set()}


def test_countries_can_be_chosen():
    german = GeonamesGazetteer(countries=["de"])
    assert {c.place.country for c in german.candidates("Berlin")} == {"DE"}
    assert not any(c.place.country != "DE" for c in german.candidates("Toledo"))
    with pytest.raises(DataError, match=r"inference.countries: unknown country 'XX'"):
        GeonamesGazetteer(countries=["xx"])


@pytest.fixture
def streets(tmp_path):
    frame = geopandas.GeoDataFrame(
        {"street": ["Oak Street", "Maple Avenue", None]},
        geometry=[LineString([(0, 0), (1000, 0)]), Point(0, 5000), Point(0, 0)],
        crs="EPSG:32616",
    )
    frame.to_file(tmp_path / "streets.gpkg")
    return tmp_path / "streets.gpkg"


def test_a_layer_of_streets(streets):
    layer = LayerGazetteer(streets, field="street")
    (oak,) = layer.candidates("oak street")
    assert oak.place.kind == "layer" and oak.likeness == 100
    assert oak.place.latitude == pytest.approx(0, abs=1e-6)
    middle = Transformer.from_crs(32616, 4326, always_xy=True).transform(500, 0)[0]
    assert oak.place.longitude == pytest.approx(middle, abs=1e-6)
    assert layer.candidates("Maple Avenu")[0].place.name == "Maple Avenue"
    assert layer.candidates("Elm Street") == ()
    with pytest.raises(DataError, match=r"no field 'name'; .*allowed: street"):
        LayerGazetteer(streets)


class _Location:
    address, latitude, longitude = "Toledo, Ohio", 41.66, -83.55


def test_a_service_is_asked_once_for_each_address(tmp_path):
    asked = []

    def geocode(address, **options):
        asked.append((address, options))
        return [_Location] if "Toledo" in address else None

    def make():
        return ServiceGazetteer(
            "nominatim", geocode=geocode, seconds_between=0, cache=tmp_path, countries=["us"]
        )

    service = make()
    for gazetteer in (service, service, make()):
        (found,) = gazetteer.candidates("1 Oak St, Toledo")
        assert (found.place.name, found.place.latitude) == ("Toledo, Ohio", 41.66)
    assert service.candidates("Nowhere") == [] == service.candidates("nowhere")
    assert [address for address, _ in asked] == ["1 Oak St, Toledo", "Nowhere"]
    assert asked[0][1] == {"exactly_one": False, "country_codes": ["us"]}


def test_requests_keep_their_distance(tmp_path, monkeypatch):
    import time

    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path))
    service = ServiceGazetteer("photon", geocode=lambda a, **o: None, seconds_between=0.2)
    assert (tmp_path / "geocoding" / "photon.sqlite").is_file()
    started = time.monotonic()
    for name in "abc":
        service.candidates(name)
    assert time.monotonic() - started >= 0.4


def test_a_service_that_fails_is_a_clear_error(tmp_path, caplog):
    from geopy.exc import GeocoderInsufficientPrivileges

    def geocode(address, **options):
        raise GeocoderInsufficientPrivileges("no key")

    service = ServiceGazetteer("photon", geocode=geocode, seconds_between=0, cache=tmp_path)
    with pytest.raises(GeommError, match=r"photon: the service cannot be asked .*geonames works without"):
        service.candidates("x")
    assert not caplog.records  # geopy would log a traceback


def test_unknown_services_and_missing_keys_are_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="unknown 'nominatin'; did you mean 'nominatim'"):
        ServiceGazetteer("nominatin", cache=tmp_path)
    monkeypatch.delenv("GEOMM_OPENCAGE_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="set GEOMM_OPENCAGE_API_KEY in the environment"):
        ServiceGazetteer("opencage", cache=tmp_path)
