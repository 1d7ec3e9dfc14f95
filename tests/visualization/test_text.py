from geomm.visualization.places import draw_places
from geomm.visualization.text import write_examples

LABELS = ["A", "B"]


def example(truth, prediction, words="one <b>two</b> three four"):
    return {
        "words": words.split(),
        "truth": truth.split(),
        "prediction": prediction.split(),
        "name": "d/x.txt",
    }


def test_the_errors_are_marked_and_the_worst_text_stands_first(tmp_path):
    items = [
        example("U-A O O O", "U-A O O O"),
        example("U-A O O U-B", "O U-B O O"),
        example("B-A L-A O O", "U-A O O O"),
    ]
    page = write_examples(items, LABELS, tmp_path / "p.html").read_text()
    right, wrong, crossed = (page.split("<p>")[i] for i in (3, 1, 2))
    assert "<mark style" in right and "wrong" not in right and "missed" not in right
    assert wrong.count('class="missed"') == 2 and wrong.count('class="wrong"') == 1
    assert '<mark class="missed">one &lt;b&gt;two&lt;/b&gt;<b>A</b></mark>' in crossed
    assert "<b>two</b>" not in page
    assert "3 texts, 2 with errors; 3 shown" in page


def test_marks_are_closed(tmp_path):
    page = write_examples(
        [example("B-A I-A I-A L-A", "O U-B O O")] * 3, LABELS, tmp_path / "p.html", most=2
    ).read_text()
    assert page.count("<mark") == page.count("</mark>")
    assert page.count("<p>") == 2


def test_places_are_drawn(tmp_path):
    rows = [
        {"latitude": 40.0, "longitude": -80.0 + n % 3, "place": "A", "place_confidence": 0.5}
        for n in range(9)
    ]
    assert draw_places(rows, tmp_path / "p.png").stat().st_size > 5000
