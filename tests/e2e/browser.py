"""A person at the site: Debian's Chromium, without a window.

docs/site.png is what it sees: `python -m tests.e2e.browser http://127.0.0.1:8080 "/?tag=php" docs/site.png`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1280,1400",
)  # fmt: skip


class Visitor:
    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self._driver = driver
        self._url = url

    def log_in(self, name: str, password: str) -> None:
        """Unless that was done before."""
        if self.logged_in:
            return
        self._driver.get(f"{self._url}/login")
        self._driver.find_element(By.NAME, "_username").send_keys(name)
        self._driver.find_element(By.NAME, "_password").send_keys(password)
        self._driver.find_element(By.CSS_SELECTOR, "main form button").click()

    @property
    def logged_in(self) -> bool:
        self._driver.get(self._url)
        return bool(self._driver.find_elements(By.CSS_SELECTOR, "form[action='/logout']"))

    def first_post(self) -> str:
        self._driver.get(self._url)
        link = self._driver.find_element(By.CSS_SELECTOR, "main a[href^='/posts/']")
        return str(link.get_attribute("href"))

    def comment(self, post: str, text: str) -> None:
        self._driver.get(post)
        self._driver.find_element(By.NAME, "comment[content]").send_keys(text)
        self._driver.find_element(By.CSS_SELECTOR, "form[name='comment'] button").click()

    def comments(self, post: str) -> str:
        """Of all pages."""
        found: list[str] = []
        page: str | None = post
        while page:
            self._driver.get(page)
            found += [one.text for one in self._driver.find_elements(By.CSS_SELECTOR, "article.comment")]
            on = self._driver.find_elements(By.CSS_SELECTOR, "#comments a[rel='next']")
            page = on[0].get_attribute("href") if on else None
        return "\n".join(found)

    def footer(self) -> str:
        return self.footer_values()["release"]

    def footer_values(self) -> dict[str, str]:
        """What it says of the instance; all of it is in its text too."""
        self._driver.get(self._url)
        footer = self._driver.find_element(By.CSS_SELECTOR, "footer")
        names = ("release", "arch", "instance", "started")
        return {name: str(footer.get_attribute(f"data-{name}")) for name in names} | {"text": footer.text}

    def screen(self, width: int, height: int) -> None:
        """A telephone's or a desk's: a window itself cannot be as narrow as a telephone is."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def sideways(self, page: str) -> int:
        """How many pixels of a page lie beyond the right edge of the screen."""
        self._driver.get(f"{self._url}{page}" if page.startswith("/") else page)
        beyond = "return document.documentElement.scrollWidth - window.innerWidth"
        return max(0, int(self._driver.execute_script(beyond)))

    def width(self) -> int:
        return int(self._driver.execute_script("return window.innerWidth"))

    def picture(self, page: str, file: str) -> None:
        """All of a page, as it is on a desk."""
        self._driver.get(f"{self._url}{page}")
        height = self._driver.execute_script("return document.documentElement.scrollHeight")
        self.screen(1280, height)
        self._driver.save_screenshot(file)


@contextmanager
def chromium(url: str) -> Iterator[Visitor]:
    options = Options()
    options.binary_location = BROWSER
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, Service(DRIVER))
        try:
            yield Visitor(driver, url)
        finally:
            driver.quit()


if __name__ == "__main__":
    address, path, target = sys.argv[1:]
    with chromium(address) as person:
        person.screen(1280, 600)
        person.picture(path, target)
