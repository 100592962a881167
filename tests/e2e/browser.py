"""A person at the site: Debian's Chromium, without a window."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

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
        self._driver.get(post)
        return "\n".join(one.text for one in self._driver.find_elements(By.CSS_SELECTOR, "article.comment"))

    def footer(self) -> str:
        self._driver.get(self._url)
        return str(self._driver.find_element(By.CSS_SELECTOR, "footer").get_attribute("data-release"))


@contextmanager
def chromium(url: str) -> Iterator[Visitor]:
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            yield Visitor(driver, url)
        finally:
            driver.quit()
