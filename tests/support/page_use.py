"""The page in a tab, used as a person does."""

import json

import numpy as np

from hpa_jax.labels import LABELS

IS_DONE = (
    "document.getElementById('progress').hidden && "
    "/scored|ot read/.test(document.getElementById('status').textContent)"
)
ROWS = """[...document.querySelectorAll('.labels tbody tr')].map((row) => [
  row.querySelector('th').textContent,
  Number(row.querySelector('data').value),
  row.classList.contains('above'),
])"""


class Page:
    """A page in a tab, used as a person does."""

    def __init__(self, tab, place):
        self.tab = tab
        self.place = place
        self.show()

    def show(self):
        """Opens the page, unless it is the one in the tab."""
        if self.tab.place == self.place:
            return
        self.tab.requests.clear()
        self.tab.complaints.clear()
        self.tab.open(self.place)
        self.tab.until("document.documentElement.dataset.ready === 'yes'")

    def choose(self, *files):
        self.tab.choose("#files", files)
        self.tab.until(IS_DONE)

    def clear(self):
        self.tab.value("document.getElementById('clear').click()")

    def text(self, selector):
        return self.tab.value(f"document.querySelector({json.dumps(selector)}).textContent")

    def click(self, selector):
        self.tab.value(f"document.querySelector({json.dumps(selector)}).click()")

    def scores(self):
        """float [L] of the field that is open, and which labels it has."""
        scores = np.zeros(len(LABELS))
        found = np.zeros(len(LABELS), bool)
        rows = self.tab.value(ROWS)
        assert len(rows) == len(LABELS)
        for name, score, is_found in rows:
            scores[LABELS.index(name)] = score
            found[LABELS.index(name)] = is_found
        return scores, found

    def press(self, key):
        """Presses a key: Tab or Enter."""
        event = {"key": key, "code": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}[key]}
        if key == "Enter":
            event["text"] = "\r"
        self.tab.call("Input.dispatchKeyEvent", type="keyDown", **event)
        self.tab.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def give_token(self, token):
        self.tab.value(f"document.getElementById('token').value = {json.dumps(token)}")
        self.click("#token-form button")
        self.tab.until(IS_DONE)

    def set(self, identifier, value):
        """Fills in a setting; a bool is a tick."""
        name = "checked" if isinstance(value, bool) else "value"
        self.tab.value(
            f"{{ const input = document.getElementById({json.dumps(identifier)});"
            f"input.{name} = {json.dumps(value)};"
            "input.dispatchEvent(new Event('change', { bubbles: true })); }"
        )
        self.tab.until(IS_DONE)
