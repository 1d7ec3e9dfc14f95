"""What figures have in common."""

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from geomm.visualization.canvas import is_figure, most_telling, new_figure, save_figure, short_name


def test_a_title_is_without_folders():
    assert short_name("/data/scenes/a.tif [596, 0]") == "a.tif [596, 0]"
    assert short_name(r"C:\scenes\a.tif [1, 2]") == "a.tif [1, 2]"
    assert short_name("a.laz at 12, 38 m") == "a.laz at 12, 38 m"


def test_the_most_telling_samples_come_first_and_from_all_over():
    assert most_telling([3, 1, 2], 2, worth=lambda sample: sample) == [3, 2]
    assert most_telling(list(range(100)), 2, worth=lambda sample: sample, looked_at=3) == [99, 79]
    assert most_telling([], 3, worth=lambda sample: sample) == []


def test_figures_are_known_from_other_pictures(tmp_path):
    made = save_figure(new_figure(1, 1), tmp_path / "made" / "figure.png")
    assert is_figure(made) and Image.open(made).info["Software"] == "geomm"
    plain, other, text = (tmp_path / f"{name}.png" for name in ("plain", "other", "text"))
    Figure(figsize=(1, 1)).savefig(plain)
    said = PngInfo()
    said.add_text("Software", "geommetry")
    Image.new("L", (4, 4)).save(other, pnginfo=said)
    text.write_text("mine")
    assert not any(map(is_figure, (plain, other, text, tmp_path, tmp_path / "none.png")))
