"""Sets the equations of pages and docstrings as mathematics while mkdocs builds. They are written as indented text, as
`help()` shows it, which is close to AsciiMath: MathJax reads that, from files that go into the site."""

import html
import importlib.metadata
import re

MATHJAX = ("startup.js", "core.js", "input/asciimath.js", "output/svg.js", "output/svg/fonts/tex.js")
GREEK = "alpha beta gamma delta epsilon eta theta mu pi sigma phi psi Phi"
KNOWN = set(f"{GREEK} exp sin ln log max min sqrt int sum".split())  # to AsciiMath as well
NAMES = set("nsr var data mean low high tr sign score error noise weights".split())  # upright
SAID = {"lam": "lambda", "dlam": "d lambda", "abar": "bar alpha", "dW": "d W", "dy": "d y"}
BLOCK = re.compile(
    r'<div class="language-text highlight"><pre>(?:<span></span>)?<code>(.*?)</code></pre></div>', re.DOTALL
)
NOT_MATHS = re.compile(r"""["'`#;$@\\]|>>|\*\*|\.[a-z]|\w=|=\w|==|[a-z]_[a-z]+_""")
FRACTION = re.compile(r'(?<![\w"}^.])([\w^.]+|\([^()]*\)) ?/ ?(?=[\w^.]+(?![\w("^.])|\(|sqrt)')
PAGE = """<style>
.equation {{display: grid; grid-template-columns: max-content 1fr; gap: .6em .3em; align-items: baseline}}
.equation {{margin: 1em 1.2em; overflow: auto}}
.equation > div > span {{display: inline-block; margin: .2em 2em .2em 0}}
.equation > :nth-child(odd) > span {{margin-right: 0}}
.equation svg {{max-width: none}}
</style><script>
MathJax = {{
  loader: {{load: ["input/asciimath", "output/svg"]}},
  startup: {{elements: [".equation"]}}
}}
</script><script src="{}assets/mathjax/startup.js" defer></script>"""


def on_files(files, config):
    """A hook of mkdocs: MathJax's files, from the package that carries them."""
    from mkdocs.structure.files import File

    for path in importlib.metadata.files("sphinx-mathjax-offline"):
        name = path.as_posix().partition("static/mathjax/")[2]
        if name in MATHJAX:
            files.append(File.generated(config, f"assets/mathjax/{name}", abs_src_path=str(path.locate())))
    return files


def on_page_content(content, page, **_):
    """A hook of mkdocs: the page, with its equations set."""
    done = BLOCK.sub(lambda found: _set(html.unescape(found[1])) or found[0], content)
    return content if done == content else done + PAGE.format("../" * page.url.count("/"))


def equations(text):
    """The lines of a block, each a list of formulas, and remarks, side by side; None if they are not equations: each
    line begins with a formula of known names, and one of these has an equals sign or a plus. In doubt it is text."""
    lines = []
    for line in text.strip("\n").splitlines():
        if line.startswith(" ") and lines:  # it goes on
            lines[-1] += ("   " if lines[-1].endswith(",") else " ") + line.strip()
        else:
            lines.append(line.rstrip())
    parts = [re.split(r" {2,}", re.sub(r" += +", " = ", line)) for line in lines]
    words = {word for first, *_ in parts for word in re.findall(r"(?<![A-Za-z_])[A-Za-z]{2,}", first)}
    sure = words <= {*KNOWN, *NAMES, *SAID, "in", "nodes"} and not NOT_MATHS.search(text)
    return parts if sure and any(" = " in first or " + " in first for first, *_ in parts) else None


def asciimath(formula):
    """A formula, or a remark beside one, in AsciiMath: words stay whole, a number after a name goes below it, and
    a slash becomes a fraction where that means the same."""
    formula = re.sub(r"(_?)([A-Za-z]+)(\d*)", _name, formula).replace(" | ", ' "|" ').replace('" "', " ")
    formula = re.sub(r'(?:(?<=[\w)}]) )?(?<!_)"[^"]*"(?: (?=[A-Za-z\d]))?', _with_its_spaces, formula)
    formula = re.sub(r"(\^\d+) (?=\d)", r"\1 * ", re.sub(r"\^(-\w+)", r"^(\1)", formula))
    return re.sub(r" ?/ ?", " // ", FRACTION.sub(r"\1 ÷ ", formula)).replace("÷", "/")


def _with_its_spaces(quoted):
    return '"' + quoted[0].replace('"', "") + '"'


def _name(found):
    below, word, number = found.groups()
    said = SAID.get(word, word if word in KNOWN or len(word) == 1 else f'"{word}"')
    if below and (word in ("f", "g") or (len(word) == 2 and word not in (*KNOWN, "in", "to"))):
        said = f"({' '.join(word)})"  # two indices; f and g, which AsciiMath would apply to brackets that follow
    return f"{below}({said}_{number})" if below and number else below + said + (f"_{number}" if number else "")


def _set(text):
    """The HTML of a block of equations, aligned at their equals signs; None if it is something else."""
    rows = []
    for first, *beside in equations(text) or ():
        left, equals, right = first.partition(" = ") if " = " in first else ("", "", first)
        cells = [_maths(left), "".join(map(_maths, [equals + right, *beside]))]
        rows += [f"<div>{cell}</div>" for cell in cells]
    return f'<div class="equation">{"".join(rows)}</div>' if rows else None


def _maths(formula):
    return f"<span>`{html.escape(asciimath(formula.strip()))}`</span>" if formula else ""
