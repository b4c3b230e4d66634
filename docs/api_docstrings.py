"""Griffe extension: sections that a docstring writes in one line (`Returns: a Plan.`) are read as those with a line of
their own."""

import re

import griffe

SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Warns|Source|Order): +(.*)$")


class OneLineSections(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = "\n".join(_lines(obj.docstring.value))


def _lines(text):
    inside = False
    for line in text.splitlines():
        found = SECTION.match(line)
        if found:
            inside = True
            name, rest = found.groups()
            if name in ("Raises", "Warns"):  # `ValueError if ...` is `ValueError: if ...` there
                rest = re.sub(r"^([A-Z]\w*(?:Error|Warning))(?=[ .,])[ ,]*", r"\1: ", rest)
            yield from ("", f"{name}:", f"    {rest}")
            continue
        if re.match(r"^[A-Z]\w+:$", line):
            inside = False
            yield ""  # a section begins after an empty line
        inside = inside and bool(line.strip())
        yield "    " + line if inside else line
