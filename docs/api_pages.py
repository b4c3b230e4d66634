"""Makes the pages of the API reference while mkdocs builds: one of the public names, and one for each module, so that
no module is forgotten."""

import ast
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]


def on_files(files, config):
    """A hook of mkdocs."""
    pages = {
        "api/index.md": _front_door(),
        **{
            f"api/{name}.md": f"# {name}\n\n::: {name}\n    options: {{show_root_heading: false}}\n"
            for name in _modules()
        },
    }
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    _entry(config["nav"], [{"Front door": "api/index.md"}, *({name: f"api/{name}.md"} for name in _modules())])
    return files


def _entry(nav, pages):
    """Puts the pages in the place of the entry `API: api/`."""
    nav[next(i for i, entry in enumerate(nav) if entry == {"API": "api/"})] = {"API": pages}


def _modules():
    """The public modules by dotted name; a folder's own name stands for its __init__."""
    paths = sorted((ROOT / "seeds").rglob("*.py"))
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    names = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return [
        name
        for name in names
        if name not in ("seeds", "seeds.public") and "__main__" not in name and ".cli" not in name
    ]


def _front_door():
    """The public names, in the order of `seeds.__all__`."""
    tree = ast.parse((ROOT / "seeds" / "public.py").read_text())
    assigned = next(node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    names = sorted(ast.literal_eval(assigned.value), key=lambda name: (name.isupper(), name[0].isupper(), name))
    intro = "# seeds\n\nWhat `import seeds` gives. The command line's help is `seeds --help`.\n\n"
    return intro + "\n".join(f"::: seeds.public.{name}\n    options: {{heading_level: 2}}\n" for name in names)
