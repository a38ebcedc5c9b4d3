"""Opens a report in headless Chromium, fails on console messages and requests, and takes screenshots.

The browser is driven through its DevTools protocol over a pair of pipes, which needs nothing but Python's own library. What
the page does is seen from inside of the browser: every request, every console message, every exception.
"""

import argparse
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

NAMES = ["chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "google-chrome-stable", "chrome"]

# name, width, height (0: the whole page), pixels per point, colours
VIEWS = [
    ("desktop-light", 1200, 0, 1, "light"),
    ("desktop-dark", 1200, 0, 1, "dark"),
    ("phone", 390, 0, 2, "light"),
    ("phone-dark", 390, 0, 2, "dark"),
    # For the documentation: what one sees first.
    ("first-screen", 1100, 1250, 1, "light"),
]

# Chromium refuses pictures that are higher.
HIGHEST = 16_000


class Browser:
    """A Chromium that is spoken to over two pipes, messages ended by a zero byte."""

    def __init__(self, program, folder):
        to_browser, self.out = os.pipe()
        self.inp, from_browser = os.pipe()
        flags = [
            "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Chromium's sandbox cannot be set up by root; the page is our own.
            flags.insert(0, "--no-sandbox")
        # The protocol is spoken on descriptors 3 and 4.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["sh", "-c", shell, program, *flags],
            pass_fds=[to_browser, from_browser], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.last = 0
        self.events = []

    def read(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.inp, 1 << 16)
            if not piece:
                sys.exit("the browser went away")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.last:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.read())

    def close(self):
        self.call("Browser.close")
        self.process.wait(timeout=30)


def complaint(event, page):
    """What is wrong about an event, if anything."""
    params = event.get("params", {})
    match event.get("method"):
        case "Runtime.consoleAPICalled":
            return f"console: {params.get('type')} {[a.get('value') for a in params.get('args', [])]}"
        case "Runtime.exceptionThrown":
            return f"exception: {params['exceptionDetails'].get('text')}"
        case "Log.entryAdded":
            return f"log: {params['entry'].get('level')} {params['entry'].get('text')}"
        case "Network.requestWillBeSent" if params["request"]["url"].split("#")[0] != page:
            return f"request: {params['request']['url'][:200]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for screenshots")
    parser.add_argument("--unfold", action="store_true", help="open everything that is folded")
    args = parser.parse_args()
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        sys.exit("no Chromium found (Debian: the package chromium); looked for " + ", ".join(NAMES))
    page = args.html.resolve().as_uri()
    args.out.mkdir(parents=True, exist_ok=True)
    # A profile that is being written to while it is removed is no failure.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            browser.call(f"{domain}.enable", session)
        browser.call("Page.navigate", session, url=page)
        browser.wait_for("Page.loadEventFired")
        evaluate = lambda code: browser.call("Runtime.evaluate", session, expression=code, returnByValue=True)["result"].get("value")
        if args.unfold:
            evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        wrong = []
        for name, width, height, scale, colours in VIEWS:
            browser.call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": colours}])
            metrics = {"width": width, "deviceScaleFactor": scale, "mobile": width < 600}
            browser.call("Emulation.setDeviceMetricsOverride", session, height=height or 900, **metrics)
            whole = min(evaluate("document.documentElement.scrollHeight"), HIGHEST // scale)
            browser.call("Emulation.setDeviceMetricsOverride", session, height=height or whole, **metrics)
            wide = evaluate("document.documentElement.scrollWidth")
            if wide > width:
                wrong.append(f"{name}: the page is {wide} points wide, the screen {width}")
            picture = browser.call("Page.captureScreenshot", session, format="png")["data"]
            (args.out / f"{name}.png").write_bytes(base64.b64decode(picture))
            print(args.out / f"{name}.png")
        wrong += filter(None, (complaint(event, page) for event in browser.events))
        seen = sum(event.get("method") == "Network.requestWillBeSent" for event in browser.events)
        if seen == 0:
            wrong.append("not even the page itself was requested: nothing was watched")
        browser.close()
    for line in wrong:
        print(f"WRONG  {line}")
    print(f"{args.html}: {'opened without a message or a request' if not wrong else f'{len(wrong)} complaints'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
