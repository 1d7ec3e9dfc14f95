"""What docs/architecture.md names is there."""

import ast
import re

#: `folder/file.py`, `folder/file.py:Name` and `folder/file.py:Name.method`, below geomm/.
NAMED = re.compile(r"`(?:geomm/)?((?:\w+/)*\w+\.py)(?::([\w.]+))?`")


def named(root):
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    return sorted({(path, name) for path, name in NAMED.findall(text)})


def definitions(body, before=""):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield before + node.name
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{before}{node.name}.")


def test_the_walks_name_files_and_functions_that_exist(root):
    found = named(root)
    assert len(found) > 60
    wrong = []
    for path, name in found:
        file = root / "geomm" / path
        if not file.is_file():
            wrong.append(path)
        elif name and name not in definitions(ast.parse(file.read_text(encoding="utf-8")).body):
            wrong.append(f"{path}:{name}")
    assert not wrong


def test_every_task_has_its_walk(root):
    lines = (root / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    first = [line.split("|")[1] for line in lines if line.startswith("| ")]
    for file in (root / "configs" / "task").glob("*.yaml"):
        assert sum(file.stem in cell for cell in first) >= 2, file.stem
