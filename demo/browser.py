"""Debian's Chromium, without a window, driven by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchFrameException,
    NoSuchWindowException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 60.0  # seconds, for whatever is to appear
WIDTH, HEIGHT = 1280, 860  # of the window, in pixels

PROGRAMS = ("chromium", "chromedriver")
GONE = (NoSuchFrameException, NoSuchWindowException, StaleElementReferenceException)  # drawn anew meanwhile
LOGIN = "/auth/login"  # in the address of the page to log in

# It runs as root in containers, where a sandbox of its own and much shared memory are not to be had.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb")


class Browser:
    """A browser with one window.

    :ivar driver: Selenium's, for whatever is not here.
    """

    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver

    def wait_for(self, selector: str, text: str = "") -> None:
        """Wait for an element that contains a text, on the page or in its frame, and stay there.

        :param selector: of CSS.
        :raises AssertionError: when there is none in time, with the text that there is.
        """
        try:
            WebDriverWait(self.driver, PATIENCE, ignored_exceptions=GONE).until(lambda _: self._finds(selector, text))
        except TimeoutException:
            shown = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"no {selector} with {text!r} at {self.driver.current_url}: {shown}") from None

    def open_frame(self, url: str) -> None:
        """Open a page of Airflow, and enter the frame in it."""
        self.driver.get(url)
        self.enter_frame()

    def enter_frame(self) -> None:
        """Enter the frame of the page."""
        self.driver.switch_to.default_content()
        self.wait_for("iframe")
        self.driver.switch_to.frame(self.driver.find_element(By.CSS_SELECTOR, "iframe"))

    def wait_for_address(self, is_there: Callable[[str], bool]) -> None:
        """Wait until the window is at an address."""
        WebDriverWait(self.driver, PATIENCE).until(lambda driver: is_there(driver.current_url), "another address")

    def _finds(self, selector: str, text: str) -> bool:
        # Airflow may draw the frame anew; who is in the former one then finds nothing.
        self.driver.switch_to.default_content()
        if self._holds(selector, text):
            return True
        frames = self.driver.find_elements(By.TAG_NAME, "iframe")
        if not frames:
            return False
        self.driver.switch_to.frame(frames[0])
        return self._holds(selector, text)

    def _holds(self, selector: str, text: str) -> bool:
        return any(text in (found.text or "") for found in self.driver.find_elements(By.CSS_SELECTOR, selector))

    def click(self, link: str) -> None:
        """Click a link, by its text."""
        found = self.driver.find_element(By.LINK_TEXT, link)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def log_in(self, url: str, name: str, password: str) -> None:
        """Log in to an Airflow with the simple auth manager."""
        self.driver.get(url)
        self.wait_for("input[name=password]")
        for field, value in (("username", name), ("password", password)):
            self.driver.find_element(By.NAME, field).send_keys(value)
        self.driver.find_element(By.NAME, "password").submit()
        # Another page, opened earlier, would cut the request off.
        self.wait_for_address(lambda address: LOGIN not in address)
        self.wait_for("nav, [role=navigation], #root a")

    def choose_theme(self, theme: str) -> None:
        """Choose a theme as Airflow's UI does; the window is at one of its pages."""
        self.driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)

    def save(self, path: Path) -> None:
        """Save what the window shows as a PNG."""
        self.driver.switch_to.default_content()
        if not self.driver.save_screenshot(str(path)):
            raise SystemExit(f"{path} cannot be written")


@contextmanager
def browser(*, height: int = HEIGHT) -> Iterator[Browser]:
    """Start a browser.

    :raises SystemExit: when it is not installed, with the cure.
    """
    programs = [shutil.which(name) for name in PROGRAMS]
    if not all(programs):
        raise SystemExit("Chromium and its driver are needed -> apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for option in (*OPTIONS, f"--window-size={WIDTH},{height}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(programs[1])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
