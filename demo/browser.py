"""Debian's Chromium, without a window, driven by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 60.0  # seconds, for whatever is to appear
WIDTH, HEIGHT = 1280, 860  # of the window, in pixels

PROGRAMS = ("chromium", "chromedriver")
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
        """Wait for an element that contains a text.

        :param selector: of CSS.
        """
        WebDriverWait(self.driver, PATIENCE).until(
            lambda driver: any(text in (found.text or "") for found in driver.find_elements(By.CSS_SELECTOR, selector)),
            f"no {selector} with {text!r} at {self.driver.current_url}",
        )

    def open_frame(self, url: str) -> None:
        """Open a page of Airflow, and enter the frame in it."""
        self.driver.get(url)
        self.enter_frame()

    def enter_frame(self) -> None:
        """Enter the frame of the page."""
        self.driver.switch_to.default_content()
        self.wait_for("iframe")
        self.driver.switch_to.frame(self.driver.find_element(By.CSS_SELECTOR, "iframe"))

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
        WebDriverWait(self.driver, PATIENCE).until(
            lambda driver: LOGIN not in driver.current_url, f"{name} was not logged in"
        )
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
