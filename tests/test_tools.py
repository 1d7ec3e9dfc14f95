"""What tools, benchmarks, notebooks and examples import from geomm is there, and meant for others."""

import ast
import importlib
import json

import pytest


def sources(root):
    for folder in ("tools", "docs"):
        for path in sorted((root / folder).rglob("*")):
            if "_build" not in path.parts and path.suffix in (".py", ".ipynb"):
                yield path


def code(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = json.loads(text)["cells"]
    lines = [
        line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()
    ]
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def imported(path):
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "geomm":
            yield from ((node.module, alias.name) for alias in node.names)


def test_what_is_imported_is_there(root):
    asked = {name: path for path in sources(root) for name in imported(path)}
    assert len(asked) > 60
    for (module, name), path in asked.items():
        assert not name.startswith("_"), f"{path}: {module}.{name} is private"
        try:
            found = hasattr(importlib.import_module(module), name)
        except ImportError as error:
            pytest.fail(f"{path}: {error}")
        if not found:
            importlib.import_module(f"{module}.{name}")
