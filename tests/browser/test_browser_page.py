import json

import pytest

HOSTILE = '<b>%{x}</b><script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">'
PAGES = ("measured", "made")


def contrast(page, front, back):
    """Return the contrast of two colours of the page's style, as WCAG 2 defines it."""
    return page.evaluate(
        """([front, back]) => {
          const style = getComputedStyle(document.documentElement);
          const light = name => {
            const hex = style.getPropertyValue(name).trim();
            const [r, g, b] = [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16) / 255)
              .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
          };
          const [a, c] = [light(front), light(back)].sort();
          return c / a;
        }""",
        [front, back],
    )


# --- by keyboard -------------------------------------------------------------------------------------------------


def focus(page, selector, presses=80):
    """Press Tab until an element has the focus."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_everything_is_done_by_keyboard(again, made, kit):
    page = again(made.path)
    focus(page, "#live-slider")
    page.keyboard.press("Home")
    kit.settle(page)
    assert page.get_attribute("#live-slider", "aria-valuetext") == "α = 0.05" or "0.05" in page.get_attribute(
        "#live-slider", "aria-valuetext"
    )
    before = [row["median, range"] for row in kit.numbers(page)]
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    kit.settle(page)
    assert [row["median, range"] for row in kit.numbers(page)] != before
    page.keyboard.press("End")
    kit.settle(page)
    assert {row["α"][0] for row in kit.numbers(page)} == {"4"}
    focus(page, "#live-exact")
    page.keyboard.type("2/5")
    kit.settle(page)
    assert {row["α"][0] for row in kit.numbers(page)} == {"0.4"}
    focus(page, ".live-preset")
    page.keyboard.press("Enter")
    kit.settle(page)
    assert {row["α"][0] for row in kit.numbers(page)} == {"0.3333333 (1/3)"}
    focus(page, "#live-group")
    focus(page, ".live-filter input")
    shown = len(kit.numbers(page))
    page.keyboard.press("Space")
    kit.settle(page)
    assert len(kit.numbers(page)) < shown


def test_the_slider_hits_simple_fractions_exactly(again, measured, kit):
    page = again(measured.path)
    stops = page.evaluate("JSON.parse(document.getElementById('live-data').textContent).stops")
    page.focus("#live-slider")
    for exponent, words in ((1 / 4, "0.25 (1/4)"), (1 / 3, "0.3333333 (1/3)"), (1 / 2, "0.5 (1/2)"), (1.0, "1")):
        place = stops.index(exponent)
        page.evaluate(
            """place => { const slider = document.getElementById('live-slider');
            slider.value = place - 1; slider.dispatchEvent(new Event('input', {bubbles: true})); }""",
            place,
        )
        page.keyboard.press("ArrowRight")
        kit.settle(page)
        assert page.get_attribute("#live-slider", "aria-valuetext") == words
        assert {row["α"][0] for row in kit.numbers(page)} == {words}


@pytest.mark.parametrize("text", ["0", "5", "one", "1/0", "-1", "1/100"])
def test_what_is_no_exponent_is_said_and_changes_nothing(again, measured, kit, text):
    page = again(measured.path)
    before = kit.numbers(page)
    kit.ask(page, text)
    assert page.get_attribute("#live-exact", "aria-invalid") == "true"
    assert text in page.inner_text("#live-hint")
    assert kit.numbers(page) == before
    page.focus("#live-slider")
    assert page.get_attribute("#live-exact", "aria-invalid") == "false"
    assert page.input_value("#live-exact") == "1/3"


def test_numbers_are_announced_when_the_slider_rests(again, measured, kit):
    page = again(measured.path)
    page.evaluate(
        """() => { window.told = []; new MutationObserver(() => window.told.push(1))
        .observe(document.getElementById('live-summary'), {childList: true, characterData: true, subtree: true}); }"""
    )
    page.focus("#live-slider")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    kit.until(page, "window.told.length > 0")
    page.wait_for_timeout(400)
    assert page.evaluate("window.told.length") <= 3
    assert page.get_attribute("#live-summary", "role") == "status"


# --- schemes and widths ------------------------------------------------------------------------------------------


def test_both_colour_schemes_are_readable_and_reach_the_figures(look, measured, kit):
    page = look(measured.path, color_scheme="light")
    for scheme, ink in (("light", "#1c1e21"), ("dark", "#e4e6e8")):
        page.emulate_media(color_scheme=scheme)
        kit.settle(page)
        for front in ("--ink", "--muted", "--link", "--holds", "--fails", "--open"):
            for back in ("--page", "--panel"):
                assert contrast(page, front, back) >= 4.5
        for figure in page.locator(".js-plotly-plot").all():
            assert figure.evaluate("plot => plot.layout.font.color") == ink
        red = int(page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
        assert (red > 200) == (scheme == "light")


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_in_one_direction_only(look, request, name, kit):
    page = look(request.getfixturevalue(name).path, width=390, height=844, has_touch=True, is_mobile=True)
    page.evaluate("document.getElementById('live-filters').open = true")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    kit.settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    width = page.evaluate("document.getElementById('live-slider').getBoundingClientRect().width")
    assert width > 200


def test_every_figure_is_drawn_before_it_is_printed(look, measured):
    page = look(measured.path, height=300)
    assert page.locator(".plot .main-svg").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_selector("#live-curves .main-svg", state="attached")
    page.wait_for_selector(".plot .main-svg", state="attached")


# --- hostile names -----------------------------------------------------------------------------------------------


def texts_in(page, selector):
    return page.evaluate("selector => [...document.querySelectorAll(selector)].map(each => each.textContent)", selector)


def hover(page, figure, word="script"):
    page.locator(f"#{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{figure} .main-svg")
    page.evaluate(
        """([id, word]) => {
          const plot = document.getElementById(id), told = trace => `${trace.hovertemplate} ${trace.customdata?.[0]}`;
          const found = plot.data.findLastIndex(trace => trace.hoverinfo !== "skip" && told(trace).includes(word));
          Plotly.Fx.hover(plot, [{curveNumber: found, pointNumber: 0}]);
        }""",
        [figure, word],
    )
    page.wait_for_selector(f"#{figure} .hoverlayer text", state="attached")
    return " ".join(texts_in(page, f"#{figure} .hoverlayer text"))


def test_a_hostile_layer_is_shown_and_not_run(look, kit, tmp_path):
    layer = HOSTILE.replace(".", "")  # PyTorch's names of modules have no dots
    page = look(kit.measured_page(tmp_path / "r.html", (layer, "1", "2", "3", "4"), {HOSTILE: HOSTILE}, HOSTILE).path)
    kit.settle(page)
    assert kit.numbers(page)[0]["layer"] == [layer]
    assert layer in page.inner_text("#live-filters")
    assert layer in page.locator("table").first.inner_text()
    assert layer in texts_in(page, "#live-curves-legend li")
    assert layer[:21] in " ".join(texts_in(page, "#live-layers .xtick text"))
    assert layer[:30] in hover(page, "live-layers")
    assert layer[:30] in hover(page, "live-curves")
    assert HOSTILE in page.inner_text("h1")
    assert page.evaluate("window.hacked") is None
    assert page.locator("b", has_text="%{x}").count() == page.locator("main img").count() == 0


def test_hostile_data_and_settings_are_shown_and_not_run(look, kit, tmp_path):
    rows = [row for seed in (0, 1) for row in kit.run_rows(HOSTILE, 2, seed, data=f"{HOSTILE}.npz")]
    rows += kit.run_rows("gd", 2, 0)
    rows += kit.run_rows("adam", 2, 0, data=HOSTILE, status="failed", snapshots=1)
    page = look(kit.runs_page(tmp_path / "r.html", rows, title=HOSTILE).path)
    page.select_option("#live-group", "optimizer")
    kit.settle(page)
    assert f"optimiser {HOSTILE}" in [row["group"][0] for row in kit.numbers(page)]
    assert f"{HOSTILE}.npz" in page.inner_text("#live-filters")
    assert f"optimiser {HOSTILE}" in texts_in(page, "#live-layers-legend li")
    assert HOSTILE[:30] in hover(page, "live-layers")
    assert HOSTILE[:30] in hover(page, "live-curves")
    assert page.locator("#live-group option").all_inner_texts()[0] == "layer"
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img").count() == page.locator("main script:not([type])").count() == 0


def test_the_data_of_the_page_cannot_end_its_script(kit, tmp_path):
    path = kit.measured_page(tmp_path / "r.html", ("</script><b>", "1", "2", "3", "4"), {}, "t").path
    html = path.read_text(encoding="utf-8")
    start = html.index('id="live-data">') + len('id="live-data">')
    data = json.loads(html[start : html.index("</script>", start)])
    assert data["labels"][0]["values"][0] == "</script><b>"
