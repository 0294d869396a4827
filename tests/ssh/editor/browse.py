"""A person at a browser: python3 browse.py URL TEXT EXPECTED [CHROMIUM-OPTION...]. Types TEXT, waits for EXPECTED."""
import sys

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

url, text, expected, *more = sys.argv[1:]
options = Options()
for option in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", *more]:
    options.add_argument(option)
browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
try:
    browser.get(url)
    wait = WebDriverWait(browser, 20)
    wait.until(lambda browser: browser.title == "connected")
    browser.find_element(By.CSS_SELECTOR, "#keyboard").send_keys(text + "\n")
    try:
        wait.until(lambda browser: expected in browser.find_element(By.CSS_SELECTOR, "#screen").text)
    except Exception:
        print(browser.find_element(By.CSS_SELECTOR, "#screen").text, file=sys.stderr)
        raise
finally:
    browser.quit()
