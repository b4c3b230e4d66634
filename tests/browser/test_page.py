"""The page in headless Chromium, on a desk and on a phone: quiet, within its width, and it does what it offers."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))
import study

from seeds import report

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
SCREENS = {"desk": (1280, 800, False), "phone": (375, 812, True)}
EVIL = '</script><script>alert(1)</script>"><img src=http://evil.example/x onerror=alert(2)>, ' + "long" * 30


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    import shutil

    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Paths of pages: a study that is done, one that runs, with several ranges, many lines, hostile names and a run
    that diverged, and a wild one of which most runs diverged."""
    folder = tmp_path_factory.mktemp("pages")
    done = study.record()
    lines = (*((f"solver-{k}", {"eta": k / 4}, 1 + k % 3) for k in range(9)), (EVIL, {EVIL: EVIL}, 1))
    running = study.record(lines, seeds=("0-499", "500-999"), waiting=11)
    running["rows"][0]["frechet"] |= {"value": 1e6, "low": -1e6, "high": 3e6}
    running["study"]["model"] = running["command"] = running["baselines"][0]["name"] = EVIL
    wild = study.record([(f"solver-{k}", {}, 1) for k in range(6)], nfe=(6, 7, 24, 48))
    for held in wild["rows"]:
        if held["nfe_asked"] in (6, 7, 48) and held["line"] != "solver-5":
            by = 1e7 * 1.7 ** held["row"]
            held["frechet"] |= {"value": by, "low": by / 2, "high": 2 * by}
            held["inception_score"] |= {"value": 1 / by, "low": 0.5 / by, "high": 2 / by}
    records = {"done": done, "running": running, "wild": wild}
    for name, record in records.items():
        (folder / f"{name}.html").write_text(report.page(record, study.pictures(record)))
    return {name: (folder / f"{name}.html").as_uri() for name in records}


class Page:
    """A page that is open, and what the browser says of it."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url
        driver.get_log("performance"), driver.get_log("browser")
        driver.get(url)
        self.settled()

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        (found,) = self.all(css)
        return found

    def settled(self):
        """Waits for two frames, so that sizes are observed and things are drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def click(self, css):
        found = self.one(css)
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found)
        found.click()
        self.settled()

    def press(self, key):
        self.driver.switch_to.active_element.send_keys(key)
        self.settled()

    def requests(self):
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def column(self, place, rows=None):
        return self.run(
            "return [...document.querySelector('#table').tBodies[0].rows].map((row) => "
            "row.cells[arguments[0]].dataset.v)",
            place,
        )

    def overflow(self):
        return self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


def resize(driver, screen):
    width, height, phone = SCREENS[screen]
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone},
    )
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})


@pytest.fixture(params=SCREENS)
def screen(request, chromium):
    resize(chromium, request.param)
    return request.param


@pytest.fixture
def page(chromium, screen, pages):
    return Page(chromium, pages["done"])


@pytest.mark.parametrize("name", ["done", "running"])
def test_the_page_is_quiet_and_keeps_within_its_width(chromium, screen, pages, name):
    page = Page(chromium, pages[name])
    for label in page.all("#metric label, #nfe label"):
        page.run("arguments[0].click()", label)
        page.settled()
        assert page.overflow() == 0
    for point in range(0, len(page.all("#chart .point")), 5):
        page.run("document.querySelectorAll('#chart .point')[arguments[0]].focus()", point)
        page.settled()
        assert page.overflow() == 0
    assert page.requests() == [page.url]
    assert chromium.get_log("browser") == []


def test_a_policy_that_is_broken_would_be_heard(chromium, pages):
    """The log that the test above finds empty is one that fills."""
    page = Page(chromium, pages["done"])
    page.run("const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image)")
    page.settled()
    assert any("Content Security Policy" in entry["message"] for entry in chromium.get_log("browser"))


@pytest.mark.parametrize("name", ["done", "running"])
def test_every_point_is_drawn_inside_the_chart(chromium, screen, pages, name):
    page = Page(chromium, pages[name])
    outside = """
        const box = document.querySelector('#chart > svg').getBoundingClientRect();
        return [...document.querySelectorAll('#chart .point, #chart text')].map((one) => one.getBoundingClientRect())
            .filter((one) => one.left < box.left - 2 || one.right > box.right + 2 || one.top < box.top - 2 || one.bottom > box.bottom + 2).length"""  # noqa: E501
    assert len(page.all("#chart .point")) == (12 if name == "done" else 40) and page.run(outside) == 0
    assert len(page.all("#chart .grid")) >= 6 and len(page.all("#chart .base")) == 1


@pytest.mark.parametrize("metric", ["frechet", "inception_score"])
def test_values_at_the_edge_are_beside_each_other_not_on_top(chromium, screen, pages, metric):
    page = Page(chromium, pages["wild"])
    page.run("document.querySelector(`#metric input[value=${arguments[0]}]`).click()", metric)
    page.settled()
    words, shut, outside = page.run("""
        const box = document.querySelector('#chart > svg').getBoundingClientRect();
        const all = [...document.querySelectorAll('#chart text.off')].map((one) => one.getBoundingClientRect());
        const over = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
        const within = (one) => one.left >= box.left && one.right <= box.right && one.top >= box.top && one.bottom <= box.bottom;
        return [all.length, all.filter((a, i) => all.slice(i + 1).some((b) => over(a, b))).length, all.filter((one) => !within(one)).length]""")  # noqa: E501
    assert (words, shut, outside) == (15, 0, 0)


def test_pointing_at_a_point_shows_its_row(page, chromium, screen):
    from selenium.webdriver import ActionChains

    for place in (1, 7):
        point = page.all("#chart .point")[place]
        page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
        rows = page.run("return arguments[0].dataset.rows", point)
        actions = ActionChains(chromium, duration=0).move_to_element(point)
        (actions.click() if screen == "phone" else actions).perform()
        page.settled()
        detail, row = page.one("#detail"), study.record()["rows"][int(rows)]
        assert detail.is_displayed()
        text = detail.text
        assert (
            row["line"] in text and row["command"] in text and row["seeds"] in text and f"{row['seconds']:.1f}" in text
        )
        assert f"{row['frechet']['value']:.4g}"[:4] in text and str(row["nfe"]) in text and str(row["steps"]) in text
        assert page.run("return [...document.querySelectorAll('#table tr.now')].map((row) => row.id)") == [
            f"row-{rows}"
        ]
        assert detail.find_element("css selector", "img").get_attribute("src") == page.one(
            f'img[data-row="{rows}"]'
        ).get_attribute("src")


def test_the_keyboard_walks_the_points(page):
    from selenium.webdriver.common.keys import Keys

    assert len(page.all('#chart .point[tabindex="0"]')) == 1
    page.run("document.querySelector('#legend li:nth-last-child(2) button').focus()")
    page.press(Keys.TAB)
    seen = [page.run("return document.activeElement.getAttribute('aria-label')")]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.END, Keys.HOME):
        page.press(key)
        seen.append(page.run("return document.activeElement.getAttribute('aria-label')"))
        line, _, rest = seen[-1].partition(", NFE ")
        assert line in page.one("#detail").text and rest.split(":")[0] in page.one("#detail").text
    assert [label.split(":")[0] for label in seen] == [
        "seeds-1, NFE "
        "7", "seeds-1, NFE 13", "seeds-2 variant=2b, NFE 13", "seeds-2 variant=2b, NFE 49", "seeds-2 variant=2b, NFE 7",
    ]  # fmt: skip
    page.press(Keys.ENTER)
    assert "kept" in page.one("#detail").get_attribute("class") and page.one("#detail .copy").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.one("#detail").is_displayed()


def test_a_header_sorts_by_click_and_by_key(page):
    from selenium.webdriver.common.keys import Keys

    rows = study.record()["rows"]
    assert [int(value) for value in page.column(0)] == list(range(12))
    page.click("#table th:nth-child(6) button")
    assert [float(value) for value in page.column(5)] == sorted(row["frechet"]["value"] for row in rows)
    assert page.run(
        "return [...document.querySelectorAll('#table [aria-sort]')].map((head) => [head.textContent, head.ariaSort])"
    ) == [["squared Frechet distance", "ascending"]]
    page.press(Keys.ENTER)
    assert [float(value) for value in page.column(5)] == sorted((row["frechet"]["value"] for row in rows), reverse=True)
    page.click("#table th:nth-child(2) button")
    assert page.column(1) == sorted(row["line"] for row in rows)


def test_rows_without_a_value_stay_last(chromium, screen, pages):
    page = Page(chromium, pages["running"])
    for _ in range(2):
        page.click("#table th:nth-child(6) button")
        assert page.column(5)[-11:] == [""] * 11 and "" not in page.column(5)[:-11]


def test_the_images_are_those_of_the_nfe_that_is_chosen(page):
    def shown():
        return page.run(
            "return [...document.querySelectorAll('.group')].filter((one) => one.offsetParent).map((one) => "
            "one.dataset.nfe)"
        )

    assert shown() == ["12"]
    for nfe, groups in {"48": ["48"], "6": ["6"], "": ["6", "12", "24", "48"]}.items():
        page.run("document.querySelector(`#nfe input[value='${arguments[0]}']`).click()", nfe)
        assert shown() == groups
    assert page.run("return [...document.images].every((image) => image.complete && image.naturalWidth === 224)")
    assert page.run("return getComputedStyle(document.querySelector('figure img')).imageRendering") == "pixelated"


def test_the_legend_hides_and_shows_lines(page):
    labels = "return [...document.querySelectorAll('#chart .point')].map((point) => point.ariaLabel.split(',')[0])"
    assert set(page.run(labels)) == {"seeds-1", "seeds-2 variant=2b", "seeds-3"}
    page.click("#legend li:nth-child(1) button")
    assert set(page.run(labels)) == {"seeds-2 variant=2b", "seeds-3"}
    assert page.one("#legend li:nth-child(1) button").get_attribute("aria-pressed") == "false"
    page.click("#legend .all")
    assert len(page.run(labels)) == 12


def test_the_metric_changes_the_chart(page):
    assert "squared Frechet distance" in page.one("#chart > svg").get_attribute("aria-label")
    page.run("document.querySelector('#metric input[value=inception_score]').click()")
    page.settled()
    assert "Inception score" in page.one("#chart > svg").get_attribute("aria-label")
    assert all("Inception score" in point.get_attribute("aria-label") for point in page.all("#chart .point"))


def test_a_run_that_diverged_is_at_the_edge_until_the_whole_range_is_asked_for(chromium, screen, pages):
    page = Page(chromium, pages["running"])
    assert len(page.all("#chart .point.off")) == 1
    page.click("#cut input")
    assert page.all("#chart .point.off") == [] and len(page.all("#chart .point")) == 40


def test_a_command_is_copied(page, chromium):
    chromium.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.click(".command .copy")
    chromium.execute_async_script("const done = arguments[0]; setTimeout(done, 100)")
    assert page.one(".command .copy").text == "Copied"
    got = chromium.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    )
    assert got == study.record()["command"]


def test_hostile_names_are_shown_as_they_are(chromium, screen, pages):
    page = Page(chromium, pages["running"])
    assert page.one("h1").text == EVIL and EVIL in page.one("#legend li:nth-last-child(2)").text
    assert len(page.all("script")) == 2 and not page.all('img[src^="http"]')


def test_without_javascript_the_table_and_the_images_are_there(chromium, screen, pages):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(pages["done"])
        assert len(chromium.find_elements("css selector", "#table tbody tr")) == 12
        assert all(image.is_displayed() for image in chromium.find_elements("css selector", "figure img"))
        assert chromium.find_element("css selector", "noscript").text.startswith("The chart needs JavaScript")
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_both_colour_schemes_have_contrast(chromium, screen, pages):
    light = """
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const level = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data]
            .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const style = getComputedStyle(document.documentElement), of = (name) => level(style.getPropertyValue(name)) + 0.05;
        return ['--ink', '--muted', '--accent'].flatMap((text) => ['--paper', '--card', '--soft'].map((back) =>
            Math.max(of(text), of(back)) / Math.min(of(text), of(back))))"""  # noqa: E501
    grounds = set()
    for scheme in ("light", "dark"):
        chromium.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        page = Page(chromium, pages["done"])
        assert min(page.run(light)) >= 4.5
        grounds.add(page.run("return getComputedStyle(document.body).backgroundColor"))
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(grounds) == 2
