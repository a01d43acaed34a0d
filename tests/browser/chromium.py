"""A real headless Chromium, driven by Selenium, with the dashboard of a daemon open in it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

MISSING = (
    None if shutil.which("chromium") and shutil.which("chromedriver") else "chromium or chromium-driver is missing"
)
_FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "disable-dev-shm-usage",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "no-first-run",
    "hide-scrollbars",
)
_SETTLED = "return !document.querySelector('main').hasAttribute('aria-busy') && !!document.querySelector('main h1')"
_AXE = """const done = arguments[0];
axe.run().then((found) => done(found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
  .map((one) => `${one.id}: ${one.nodes.map((node) => node.target).join(" ")}`)));"""


class Page:
    """The dashboard at `url`."""

    def __init__(self, driver: webdriver.Chrome, url: str, downloads: Path) -> None:
        self.driver = driver
        self.url = url
        self.downloads = downloads

    def look(self, width: int, theme: str = "light", height: int = 900) -> None:
        """How large the window is, and what the system's theme is."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, view: str) -> None:
        """Loads the page anew at this view, and waits until all of it is there."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/dashboard#/{view}")
        self.until(lambda: bool(self.driver.execute_script(_SETTLED)), f"the view {view}")

    def until(self, holds: Callable[[], bool], what: str, within: float = 30.0) -> None:
        """Waits until this holds."""
        end = time.monotonic() + within
        while True:
            try:
                if holds():
                    return
            except (StaleElementReferenceException, ElementClickInterceptedException):
                pass  # the page has just painted anew, or what was done before is still being told over it
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come; the page has:\n{self.text}")
            time.sleep(0.05)

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return self.driver.find_element(By.TAG_NAME, "main").text

    def shows(self, text: str) -> None:
        """Waits until the page has this text."""
        self.until(lambda: text in self.text, repr(text))

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector, once it is there."""
        self.until(lambda: bool(self.driver.find_elements(By.CSS_SELECTOR, selector)), selector)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """A click of the mouse."""
        self.until(lambda: self._clicked(selector), f"a click on {selector}")

    def _clicked(self, selector: str) -> bool:
        self.find(selector).click()
        return True

    def type(self, selector: str, text: str) -> None:
        """Writes into a field."""
        self.find(selector).send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        """Chooses an option."""
        Select(self.find(selector)).select_by_value(value)

    def accept(self) -> None:
        """Says yes to what is asked."""
        self.driver.switch_to.alert.accept()

    def downloaded(self, name: str) -> bytes:
        """A file that the page has saved."""
        path = self.downloads / name
        self.until(path.exists, name)
        return path.read_bytes()

    def complaints(self) -> list[str]:
        """What stands in the console since the last look."""
        return [one["message"] for one in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def barriers(self) -> list[str]:
        """The serious findings of axe-core."""
        self.driver.execute_script((resources.files("axe_core_python") / "axe.min.js").read_text())
        found: list[str] = self.driver.execute_async_script(_AXE)
        return found

    def picture(self, path: Path, width: int, theme: str) -> None:
        """The whole page at this width, as PNG."""
        self.look(width, theme)
        height = int(self.driver.execute_script("return document.documentElement.scrollHeight"))
        self.look(width, theme, min(max(height, 900), 6000))
        time.sleep(0.3)  # charts are drawn when their place has its size
        self.driver.save_screenshot(str(path))

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.driver.execute_script(script))


@contextmanager
def chromium(url: str, downloads: Path) -> Iterator[Page]:
    """A browser of its own, with an empty profile."""
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as profile:
        yield from _started(url, downloads, profile)


def _started(url: str, downloads: Path, profile: str) -> Iterator[Page]:
    options: Any = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in _FLAGS:
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver") or "")
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_script_timeout(60)
        yield Page(driver, url, downloads)
