"""The report page: its content from records, and the page itself in a browser."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from made_records import make_ap, make_record

from benchmark import leaderboard
from benchmark.config.profile import load_profile
from benchmark.report import plots
from benchmark.report.page import make_content, render, write

HOSTILE = '</script><img src=x onerror="window.hacked=true"><!--\'"&'
SYNTHETIC = {
    "name": "the built-in set", "synthetic": True, "fingerprint": "f0",
    "train_frames": 10, "val_frames": 5,
}  # fmt: skip

RECIPE = json.loads(json.dumps(load_profile("smoke", 3).recipe("pointpillars").as_json()))


def trained(method="none", seed=0, mean=50.0, cell="", **changes):
    """A record with all that the page shows."""
    values = {
        "cell": cell or f"{method}-{seed}",
        "dataset": SYNTHETIC,
        "hyperparameters": {} if method == "none" else {"weight": 2.5},
        "weights_sha256": "a" * 64,
        "losses_sha256": "b" * 64,
        **changes,
    }
    found = make_record(method, seed, mean, **values)
    found["profile"] = {**found["profile"], "recipe": RECIPE}
    if found["status"] == "done":
        losses = [{"loss_cls": 1.0 / (e + 1), "loss_bbox": 2.0 / (e + 1)} for e in range(3)]
        found["training"] = {
            "seconds_alone": 100.0, "seconds_as_run": 60.0, "seconds_method": 4.0,
            "balance": 1.0, "extra_params": 7, "extrapolated": True, "losses": losses,
        }  # fmt: skip
    return found


def save_views(folder, found, frame="000003"):
    """Views of a record: one frame with one object and two detections."""
    figures = {**found["ap"], "Cyclist": {**found["ap"]["Cyclist"], "objects": [0, 0, 0]}}
    box = [10.0, 1.0, 3.9, 1.6, 0.3]
    view = {
        "fingerprint": "f0",
        "range": [0, -12.8, 25.6, 12.8],
        "by_distance": [
            {"from": 0.0, "to": 30.0, "ap": found["ap"]},
            {"from": 30.0, "to": None, "ap": figures},
        ],
        "detections": {frame: [{"class": "Car", "box": box, "score": s} for s in (0.9, 0.2)]},
    }
    scene = {
        "frame": frame,
        "points": [5.0, 1.0, 6.0, -1.0],
        "objects": [{"class": "Car", "box": box}],
    }
    for path, content in (
        (folder / "views" / f"{found['cell']}.json", view),
        (folder / "views" / "frames" / "f0" / f"{frame}.json", scene),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


LONG = "a_method_with_a_name_" + "x" * 60
HOSTILES = (HOSTILE, HOSTILE + "2")


def save_external(folder, name="other-net", **card):
    """An external result as `add-external` leaves it."""
    values = {
        "name": name, "paper": "Doe et al.", "url": "https://example.org/net", "data": "KITTI",
        "split": "val", "detector": "a net of their own", "detections": ".", "notes": "",
        "costs": {"GFLOPs": 1.5}, **card,
    }  # fmt: skip
    path = folder / "external" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    hashes = {"labels_sha256": "a" * 64, "detections_sha256": "b" * 64, "evaluator": "a test"}
    path.write_text(json.dumps({"card": values, "frames": 50, "ap": make_ap(12.345), **hashes}))


def matrix():
    """A teacher and four methods on a student with three seeds, one of another family."""
    found = [trained(student="pointpillars", mean=60, cell="t")]
    for seed in (0, 1, 2):
        wobble = (0.2, -0.1, 0.0)[seed]
        found += [
            trained("none", seed, 50 + seed),
            trained("fitnet", seed, 53 + seed + wobble),
            trained("logit_kd", seed, 50.1 + seed - wobble),
            trained("crd", seed, 47 + seed - wobble / 2),
        ]
    found.append(trained("rdd", 0, status="failed", reason="IndexError: no boxes"))
    found.append(trained("none", 0, 61, cell="second-none", student="second@4"))
    return found


def controlled():
    """The matrix, and students that trained twice as long, for each seed."""
    found = matrix()
    for seed in (0, 1, 2):
        made = trained("none", seed, 55 + seed, cell=f"twice-{seed}")
        made["settings"] |= {"control": "none_twice", "beside": "t"}
        found.append(made)
    return found


def rows(content, section=0):
    return {row["method"]: row for row in content["sections"][section]["rows"]}


class Tags(HTMLParser):
    """Every tag of a page, with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


# ---------------------------------------------------------------- content


def test_a_row_holds_the_means_of_its_records(tmp_path):
    content = make_content(tmp_path, matrix())
    fitnet = rows(content)["fitnet"]
    assert fitnet["cells"] == ["fitnet-0", "fitnet-1", "fitnet-2"]
    assert fitnet["figures"]["3D mAP"] == pytest.approx(54 + 0.1 / 3, abs=1e-4)
    assert fitnet["details"]["Car"]["BEV"] == pytest.approx([54 + 0.1 / 3] * 3, abs=1e-4)
    assert fitnet["losses"]["total"] == [3.0, 1.5, 1.0]
    assert fitnet["figures"]["KD share (%)"] == 0.04
    assert fitnet["extrapolated"] is True


def test_a_figure_is_rounded_once_where_it_is_shown(tmp_path):
    """Rounded to four digits before, 52.445003 would be 52.44 on the page, and 52.45 beside it."""
    content = make_content(tmp_path, [trained(mean=52.445003)])
    assert rows(content)["none"]["figures"]["3D mAP"] == 52.445003


def test_outcomes_are_those_of_the_verdicts(tmp_path):
    found = {name: row["outcome"] for name, row in rows(make_content(tmp_path, matrix())).items()}
    assert found == {
        "teacher": "", "none": "", "fitnet": "better", "logit_kd": "same", "crd": "worse",
        "rdd": "incomplete",
    }  # fmt: skip
    one_seed = [r for r in matrix() if r["seed"] == 0]
    assert rows(make_content(tmp_path, one_seed))["fitnet"]["outcome"] == "undecided"


def test_every_row_leads_to_its_records(tmp_path):
    content = make_content(tmp_path, matrix())
    found = {
        cell for section in content["sections"] for r in section["rows"] for cell in r["cells"]
    }
    assert found == {r["cell"] for r in matrix()} == set(content["cells"])
    cell = content["cells"]["fitnet-1"]
    assert cell["link"] == "records/fitnet-1.json"
    assert cell["hyperparameters"] == {"weight": "2.5"}
    assert "--epochs 3 --students pointpillars@4 --methods fitnet --seeds 1" in cell["command"]
    assert cell["needs"] == [f"needs the code of commit {'c' * 40}"]
    assert cell["threads"] == 1


def test_what_has_no_record_is_named(tmp_path):
    rdd = rows(make_content(tmp_path, matrix()))["rdd"]
    assert rdd["cells"] == ["rdd-0"]
    assert rdd["missing"] == [1, 2]
    assert rdd["details"] is None
    assert rdd["figures"]["3D mAP"] is None


def test_views_are_optional_and_a_mean_needs_them_of_every_seed(tmp_path):
    found = [trained("none", seed) for seed in (0, 1)] + [trained("fitnet", 0)]
    for one in (found[1], found[2]):
        save_views(tmp_path, one)
    content = make_content(tmp_path, found)
    none, fitnet = rows(content)["none"], rows(content)["fitnet"]
    assert none["distances"] is None
    assert none["view"]["detections"].keys() == {"000003"}
    near, far = fitnet["distances"]
    assert near["ap"]["Car"] == {"BEV": 50.0, "3D": 50.0}
    assert far["ap"]["Cyclist"] == {"BEV": None, "3D": None}
    assert far["bounded"] == {"Car": False, "Pedestrian": False, "Cyclist": True}
    assert content["frames"]["f0"]["000003"]["points"] == [5.0, 1.0, 6.0, -1.0]


def test_the_page_does_not_depend_on_the_order_of_records(tmp_path):
    found = matrix()
    assert render(make_content(tmp_path, found)) == render(make_content(tmp_path, found[::-1]))


def test_controls_stand_apart_from_the_rows(tmp_path):
    plain, content = (make_content(tmp_path, made) for made in (matrix(), controlled()))
    (section, other), (without, _) = content["sections"], plain["sections"]
    assert section["rows"] == without["rows"]
    assert without["controls"] == other["controls"] == []
    (row,) = section["controls"]
    assert (row["method"], row["control"], row["seeds"]) == ("none", "twice the epochs", "3")
    assert row["gain"].startswith("+5.00 [")


def test_external_results_are_there(tmp_path):
    assert make_content(tmp_path, [trained()])["external"] == []
    save_external(tmp_path)
    (row,) = make_content(tmp_path, [trained()])["external"]
    assert row["url"] == "https://example.org/net"
    assert row["shown"]["external"] == "other-net"
    assert row["shown"]["data, split"] == "KITTI, val (50 frames)"
    assert row["shown"]["3D mAP"] == "12.35"
    assert row["shown"]["stated costs"] == "GFLOPs 1.5"


def test_a_folder_whose_name_is_no_text_has_pages(tmp_path):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (page, *_) = write(folder, [trained()])
    assert "<title>caf?" in page.read_text()
    leaderboard.write(folder, [trained()])
    assert (folder / "leaderboard.md").read_text().startswith("# caf?")


def test_data_and_profile_are_labelled(tmp_path):
    (section,) = make_content(tmp_path, [trained()])["sections"]
    assert section["synthetic"]
    assert section["wiring"]
    real = trained(dataset={**SYNTHETIC, "synthetic": False, "name": "KITTI"},
                   profile={"name": "kitti", "purpose": "p", "reduced": False})  # fmt: skip
    (section,) = make_content(tmp_path, [real])["sections"]
    assert not section["synthetic"]
    assert not section["wiring"]


# ---------------------------------------------------------------- the file


def test_the_page_is_one_file_that_may_load_nothing(tmp_path):
    page = render(make_content(tmp_path, matrix()))
    tags = Tags(page).found
    assert not [a for _, a in tags if any(k in a for k in ("src", "srcset", "action", "style"))]
    assert {a["href"] for _, a in tags if "href" in a} == {"#main", "data:,"}
    assert not re.search(r"@import|url\((?!#)", page)
    (policy,) = [a["content"] for _, a in tags if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


def test_the_footer_says_why_intervals_are_equally_wide(tmp_path):
    footer = render(make_content(tmp_path, [trained()])).partition("<footer>")[2]
    assert "pooled over a student's methods" in footer
    assert "docs/protocol.md" in footer


def test_nothing_in_a_record_becomes_markup(tmp_path):
    hostile = trained(HOSTILE, status="failed", reason=HOSTILE, cell=HOSTILE)
    hostile["provenance"]["machine"] = HOSTILE
    clean, spoilt = (
        Tags(render(make_content(tmp_path, found))).found
        for found in ([trained()], [trained(), hostile])
    )
    assert [tag for tag, _ in clean] == [tag for tag, _ in spoilt]
    content = make_content(tmp_path, [hostile])
    assert content["cells"][HOSTILE]["link"] is None
    assert HOSTILE not in render({**content, "title": HOSTILE})


# ---------------------------------------------------------------- plots for papers


def test_plots_are_the_same_bytes_every_time(tmp_path):
    content = make_content(tmp_path, [record for record in matrix() if record["seed"] < 2])
    content["sections"] = content["sections"][:1]
    first, second = plots.write(tmp_path / "a", content), plots.write(tmp_path / "b", content)
    assert [path.name for path in first] == [path.name for path in second]
    assert {path.suffix for path in first} == {".svg", ".png"}
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_plots_say_that_data_are_synthetic_and_show_names_as_they_are(tmp_path):
    content = make_content(tmp_path, [trained(), trained("$x^2$ & <b>")])
    plots.write(tmp_path, content)
    for path in tmp_path.glob("*.svg"):
        text = path.read_text()
        assert "synthetic data; wiring check, numbers rank nothing" in text
        assert "$x^2$ &amp; &lt;b&gt;" in text


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that keeps the console and all network events."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and chromium):
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A results folder's page, hostile records among its own."""
    folder = tmp_path_factory.mktemp("results")
    found = matrix()
    bad = trained(
        HOSTILE, mean=51, cell="hostile", reason=HOSTILE, hyperparameters={HOSTILE: HOSTILE}
    )
    bad["training"]["losses"] = [{HOSTILE: 1.0}]
    bad["provenance"] |= {"machine": HOSTILE, "commit": HOSTILE}
    failed = trained(HOSTILE + "2", cell="failed", status="failed", reason=HOSTILE)
    long = trained(LONG, mean=49, cell="long")
    teacher = found[0]
    latency = {"median": 70.0, "iqr": 30.0, "threads": 2, "load": 1.5}
    teacher["cost"] = {**teacher["cost"], "latency_ms": latency}
    for one in [*found, bad]:
        if one["status"] == "done":
            save_views(folder, one)
    save_external(folder)
    save_external(folder, "worse-net", **dict.fromkeys(("paper", "detector", "notes"), HOSTILE))
    return write(folder, [*found, bad, failed, long])[0]


def show(browser, page, width=1280, height=900, theme="light"):
    """The page afresh, in a window and a theme of the system."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    browser.execute_script("localStorage.clear()")
    browser.get(page.as_uri())
    return browser


@pytest.fixture
def shown(browser, page):
    return show(browser, page)


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return browser.execute_script(script, selector)


def click(browser, selector, text=None):
    script = """
      const found = [...document.querySelectorAll(arguments[0])];
      found.find((e) => arguments[1] === null || e.textContent.startsWith(arguments[1])).click();
    """
    browser.execute_script(script, selector, text)


def methods(browser):
    return texts(browser, "#table tbody th .open")


def test_the_page_loads_without_a_word_in_the_console_and_asks_for_nothing(browser, page):
    browser.get_log("browser"), browser.get_log("performance")
    show(browser, page)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in asked
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}


def test_the_policy_stops_what_would_leave_the_page(shown):
    violated = shown.execute_async_script("""
      const done = arguments[0];
      document.addEventListener("securitypolicyviolation", (e) => done(e.effectiveDirective));
      fetch("https://example.org/").catch(() => setTimeout(() => done("nothing"), 500));
    """)
    assert violated == "connect-src"


def test_hostile_records_do_nothing_and_are_shown_as_text(shown):
    for row in range(len(methods(shown))):
        shown.execute_script(
            "document.querySelectorAll('#table .open')[arguments[0]].click();"
            "document.querySelector('dialog').close()", row
        )  # fmt: skip
    click(shown, ".chip", HOSTILE)
    assert shown.execute_script("return window.hacked") is None
    assert shown.execute_script("return document.querySelectorAll('img').length") == 0
    assert HOSTILE in methods(shown)


def test_a_column_sorts_up_and_down_and_says_so(shown):
    first = methods(shown)
    assert first[0] == "teacher"
    click(shown, "#table button.sort", "3D gain")
    state = "return document.querySelector('[data-key=\"3D gain\"]').parentNode.ariaSort"
    assert shown.execute_script(state) == "descending"
    order = methods(shown)
    assert (
        order.index("fitnet") < order.index("logit_kd") < order.index("crd") < order.index("none")
    )
    focused = "return document.activeElement.dataset.key"
    assert shown.execute_script(focused) == "3D gain"
    click(shown, "#table button.sort", "3D gain")
    assert shown.execute_script(state) == "ascending"
    order = methods(shown)
    assert (
        order.index("crd") < order.index("logit_kd") < order.index("fitnet") < order.index("none")
    )


def test_the_filter_keeps_rows_with_all_words(shown):
    field = shown.find_element("id", "filter")
    total = len(methods(shown))
    field.send_keys("better fitnet")
    assert methods(shown) == ["fitnet"]
    assert texts(shown, "#shown") == [f"1 of {total} rows"]


def test_columns_per_class_and_of_costs(shown):
    click(shown, "#table-controls button", "Per class")
    (row,) = [r for r in texts(shown, "#table tbody tr") if r.startswith("fitnet")]
    assert row.count("54.0") == 10  # the mean and three classes at three difficulties
    click(shown, "#table-controls button", "Costs")
    assert "Latency (ms)" in texts(shown, "#table thead button")


def test_cells_without_a_figure_are_counted_and_marked(shown):
    (told,) = texts(shown, "#summary .lead")
    assert re.search(r"\. \d+ cells without a figure: see the verdicts\.$", told)
    click(shown, "#table-controls button", "Per class")
    (row,) = [r for r in texts(shown, "#table tbody tr") if r.startswith("rdd")]
    assert "0 of 3" in row


def test_provenance_is_two_clicks_away(shown):
    click(shown, "#table .open", "fitnet")
    links = "return [...document.querySelectorAll('dialog a')].map((a) => a.getAttribute('href'))"
    assert shown.execute_script(links) == [f"records/fitnet-{seed}.json" for seed in (0, 1, 2)]
    assert "--methods fitnet" in texts(shown, "dialog pre")[0]
    assert "mmdet3d 1.4.0" in texts(shown, "dialog details")[0]
    assert "Threads1" in texts(shown, "dialog .facts div")
    assert "Commit" + "c" * 40 in texts(shown, "dialog .facts div")


def test_hashes_are_whole_and_selected_by_a_click(shown):
    click(shown, "#table .open", "fitnet")
    assert texts(shown, "dialog .hash")[:3] == ["c" * 40, "a" * 64, "b" * 64]
    shown.execute_script("document.querySelectorAll('dialog details')[0].open = true")
    shown.find_elements("css selector", "dialog .hash")[1].click()
    assert shown.execute_script("return getSelection().toString()") == "a" * 64


def test_the_command_holds_the_threads_of_a_processor(tmp_path):
    found = trained()
    found["provenance"] |= {"machine": "AMD EPYC (96 cores)", "threads": 24}
    (cell,) = make_content(tmp_path, [found])["cells"].values()
    assert cell["command"].startswith("OMP_NUM_THREADS=24 python run_bench.py run ")


def test_controls_are_shown_below_the_table_that_they_belong_to(browser, tmp_path):
    show(browser, write(tmp_path, controlled())[0])
    assert texts(browser, "#controls tbody td")[:2] == ["twice the epochs", "3"]
    browser.find_elements("css selector", "#sections button")[1].click()
    assert not browser.find_element("id", "controls").is_displayed()


def test_a_page_without_controls_does_not_mention_them(shown):
    assert not shown.find_element("id", "controls").is_displayed()


def test_external_results_have_a_table_of_their_own_as_text(shown):
    assert texts(shown, "#external tbody th") == ["other-net", "worse-net"]
    links = "return [...document.querySelectorAll('#external a')].map((a) => a.href)"
    assert set(shown.execute_script(links)) == {"https://example.org/net"}
    assert texts(shown, "#external tbody td").count(HOSTILE) == 3
    assert "12.35" in texts(shown, "#external tbody td")
    assert "Gain" not in " ".join(texts(shown, "#external thead th"))
    above = """
      const [one, other] = ["results", "external"].map((id) => document.getElementById(id));
      return Boolean(one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);
    """
    assert shown.execute_script(above)


def test_a_page_of_external_results_alone(browser, tmp_path):
    save_external(tmp_path)
    browser.get_log("browser")
    show(browser, write(tmp_path, [])[0])
    assert browser.get_log("browser") == []
    titles = [title.text for title in browser.find_elements("css selector", "main h2")]
    assert [title for title in titles if title] == ["External results"]
    assert texts(browser, "#external tbody th") == ["other-net"]


def test_a_page_without_external_results_does_not_mention_them(browser, tmp_path):
    show(browser, write(tmp_path, [trained()])[0])
    assert not browser.find_element("id", "external").is_displayed()


def test_the_theme_follows_the_system_until_it_is_chosen(browser, page):
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = show(browser, page).execute_script(paper)
    dark = show(browser, page, theme="dark").execute_script(paper)
    assert light != dark
    click(browser, "#theme")
    assert browser.execute_script(paper) == light
    assert texts(browser, "#theme") == ["Dark theme"]
    browser.refresh()
    assert browser.execute_script(paper) == light


def test_plots_follow_their_controls(shown):
    assert len(texts(shown, "#cost-figure .point")) == 7
    click(shown, "#cost-controls button", "latency (ms)")
    assert "latency (ms), logarithmic" in texts(shown, "#cost-figure text")
    curves = "return document.querySelectorAll('#curves-figure path.curve').length"
    before = shown.execute_script(curves)
    click(shown, ".chip", "crd")
    assert shown.execute_script(curves) == before + 1
    assert len(texts(shown, ".panel")) == 3
    assert "1 object, 1 detection with" in texts(shown, ".panel figcaption")[0]


def test_latency_stands_beside_its_range_wherever_it_is_shown(shown):
    click(shown, "#table-controls button", "Costs")
    (row,) = [r for r in texts(shown, "#table tbody tr") if r.startswith("fitnet")]
    assert "7.0 iqr 0.5" in row
    (teacher,) = [r for r in texts(shown, "#table tbody tr") if r.startswith("teacher")]
    assert "70.0 iqr 30.0 ‡" in teacher
    assert "‡ says little" in texts(shown, "#table-note")[0]
    click(shown, "#cost-controls button", "latency (ms)")
    told = "return [...document.querySelectorAll('.point')].map((e) => e.ariaLabel)"
    labels = shown.execute_script(told)
    assert any("latency (ms) 70.0 (iqr 30.0 ‡), 2 threads, load 1.5" in label for label in labels)
    assert any("latency (ms) 7.0 (iqr 0.5)" in label for label in labels)
    assert "pointpillars ‡" in texts(shown, "#cost-figure text")
    assert len(texts(shown, "#cost-figure .range")) == 2
    assert plots.RANGES in texts(shown, "#cost-figure figcaption")[0]
    click(shown, "#cost-controls button", "params")
    assert texts(shown, "#cost-figure .range") == []


def test_a_line_leads_from_a_mark_to_its_cost(shown):
    """All lines of one student end at one place, its vertical line."""
    script = """
      const at = (selector, name) =>
        [...document.querySelectorAll(selector)].map((e) => Number(e.getAttribute(name)));
      const verticals = [...document.querySelectorAll(".student")].map((e) =>
        Number(e.getAttribute("d").match(/^M([\\d.]+)/)[1]));
      return [at("#cost-figure .leader", "x1"), verticals, at("#cost-figure .leader", "x2")];
    """
    starts, verticals, ends = shown.execute_script(script)
    assert len(ends) == len(set(ends)) >= 5
    assert set(starts) <= set(verticals)


@pytest.mark.parametrize("chosen", [[], ["crd"]])
def test_a_method_has_the_colour_of_the_plots_whatever_is_chosen(shown, page, chosen):
    methods = sorted({"crd", "fitnet", "logit_kd", "rdd", *HOSTILES, LONG})
    for name in chosen:
        click(shown, ".chip", name)
    script = """
      const mark = document.querySelector(".point[aria-label^='logit_kd'] .shape");
      return getComputedStyle(mark).fill.match(/\\d+/g).map(Number);
    """
    colour = plots.STYLE["axes.prop_cycle"].by_key()["color"][methods.index("logit_kd") % 6]
    assert shown.execute_script(script) == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def test_marks_that_are_not_chosen_have_names_where_there_is_room(shown):
    click(shown, ".chip", "crd")
    click(shown, ".chip", "crd")
    assert "crd" in texts(shown, "#cost-figure text.near") + texts(shown, "#cost-figure .label")
    point = shown.find_element("css selector", "#cost-figure .point[aria-label^='crd']")
    shown.execute_script("arguments[0].focus()", point)
    assert texts(shown, ".tip b") == ["crd on pointpillars@4"]


@pytest.mark.parametrize("width", [390, 1280])
def test_every_mark_has_a_name_beside_it_or_below(browser, page, width):
    show(browser, page, width, 844)
    told = " ".join(texts(browser, "#cost-figure text") + texts(browser, "#cost-figure .legend"))
    points = browser.find_elements("css selector", "#cost-figure .point")
    assert len(points) >= 6
    for point in points:
        label = point.get_attribute("aria-label")
        name = "teacher" if "(teacher)" in label else label.partition(" on ")[0]
        assert name[:17] in told, label


def test_the_costs_fit_a_laptop_or_show_that_they_scroll(browser, page):
    show(browser, page)
    for name in ("Costs", "Per class", "Overview"):
        click(browser, "#table-controls button", name)
        assert hidden(browser) == edge(browser)
    show(browser, page, 390, 844)
    click(browser, "#table-controls button", "Costs")
    assert hidden(browser)
    assert edge(browser)
    browser.execute_script("document.getElementById('table').scrollLeft = 9999")
    wait = "setTimeout(arguments[0], 200)"
    browser.execute_async_script(wait)
    assert not edge(browser)


def hidden(browser, table="table"):
    """Whether a part of a table is beyond its right edge."""
    script = "const t = document.getElementById(arguments[0]); return t.scrollWidth - t.clientWidth"
    return browser.execute_script(script, table) > 1


def edge(browser, table="table"):
    script = """
      return getComputedStyle(document.getElementById(arguments[0]).parentNode, '::after').opacity
    """
    return browser.execute_script(script, table) == "1"


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_external_results_show_that_they_scroll(browser, page, size):
    show(browser, page, *size)
    assert hidden(browser, "external-table") == edge(browser, "external-table")
    assert edge(browser, "external-table") or size[0] == 1280


def test_a_phone_shows_the_gist_of_a_row_without_scrolling(browser, page):
    show(browser, page, 390, 844)
    heads = """
      return [...document.querySelectorAll("#table thead th")]
        .filter((e) => e.offsetWidth).map((e) => e.textContent)
    """
    assert browser.execute_script(heads) == ["Method", "3D mAP", "3D gain", "Verdict (3D)"]
    fit = """
      const row = [...document.querySelectorAll("#table tbody tr")]
        .find((e) => e.textContent.startsWith("fitnet"));
      return [...row.children].filter((e) => e.offsetWidth)
        .map((e) => e.getBoundingClientRect().right);
    """
    assert max(browser.execute_script(fit)) <= 390 - 16
    assert {"fitnet", "none", "teacher"} <= set(texts(browser, "#cost-figure .legend .key"))


def test_names_break_after_their_joints_only(tmp_path, browser):
    found = [trained(), trained("point_distiller:variant=released", mean=51)]
    show(browser, write(tmp_path, found)[0], 390, 844)
    lines = """
      const name = [...document.querySelectorAll("#table .open")]
        .find((e) => e.textContent.startsWith("point_distiller"));
      return [name.textContent, [...name.childNodes].filter((n) => n.nodeType === 3)
        .map((n) => [n.data, new Set([...Array(n.length).keys()].map((i) => {
          const range = document.createRange();
          range.setStart(n, i); range.setEnd(n, i + 1);
          return Math.round(range.getBoundingClientRect().top);
        })).size])];
    """
    text, parts = browser.execute_script(lines)
    assert text == "point_distiller:variant=released"
    assert parts == [["point_", 1], ["distiller:", 1], ["variant=", 1], ["released", 1]]


def test_a_point_tells_what_it_is_on_focus_and_opens_with_a_key(shown):
    point = shown.find_element("css selector", "#cost-figure .point[aria-label^='fitnet']")
    shown.execute_script("arguments[0].focus()", point)
    assert texts(shown, ".tip b") == ["fitnet on pointpillars@4"]
    point.send_keys("\ue007")  # Enter
    assert shown.execute_script("return document.querySelector('dialog').open")


def test_tables_of_other_families_are_a_click_away(shown):
    click(shown, "#sections button", "second")
    assert methods(shown) == ["teacher", "none"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(browser, page, theme):
    show(browser, page, 390, 844, theme)
    for name in ("Per class", "Costs", "Overview"):
        click(browser, "#table-controls button", name)
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    click(browser, "#table .open", "fitnet")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390


def test_every_control_has_a_name(shown):
    unnamed = """
      return [...document.querySelectorAll("button, select, input, a, [role=img], [role=button]")]
        .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))
        .map((e) => e.outerHTML);
    """
    assert shown.execute_script(unnamed) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(browser, page, theme):
    """Contrast of 4.5 to 1 (WCAG 2 AA) of text colours on the backgrounds they are used on."""
    show(browser, page, theme=theme)
    pairs = [
        *(("ink", "paper"), ("soft", "paper"), ("soft", "raised"), ("soft", "sunken")),
        *(("accent", "raised"), ("accent", "tint"), ("warn-ink", "warn"), ("worse", "raised")),
    ]
    script = """
      const probe = document.body.appendChild(document.createElement("i"));
      return arguments[0].map((pair) => pair.map((name) => {
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
      }));
    """
    for names, (text, ground) in zip(pairs, browser.execute_script(script, pairs), strict=True):
        bright, dim = sorted((luminance(text), luminance(ground)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, names


def luminance(colour):
    """Relative luminance of 8-bit sRGB, as WCAG 2 defines it."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
