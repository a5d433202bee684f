"""The families of browsers and systems, by headers that they sent."""

from gateway_site.pages.session_label import BROWSERS, LENGTH_MAX, SYSTEMS, find_family
from tests.support.cases import each_case

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
MAC = "Macintosh; Intel Mac OS X 10_15_7"
SENT = {
    f"Mozilla/5.0 (X11; Linux x86_64) {KHTML} Chrome/137.0.0.0 Safari/537.36": ("Chrome", "Linux"),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KHTML} Chrome/137.0.0.0 Safari/537.36": (
        "Chrome",
        "ChromeOS",
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML} Chrome/137.0 Safari/537.36 Edg/137.0": (
        "Edge",
        "Windows",
    ),
    f"Mozilla/5.0 ({MAC}) {KHTML} Chrome/137.0 Safari/537.36 OPR/121.0": ("Opera", "macOS"),
    f"Mozilla/5.0 (Linux; Android 10; K) {KHTML} SamsungBrowser/28.0 Chrome/130 Safari/5": (
        "Samsung Internet",
        "Android",
    ),
    "Mozilla/5.0 (Android 15; Mobile; rv:139.0) Gecko/139.0 Firefox/139.0": ("Firefox", "Android"),
    f"Mozilla/5.0 ({MAC}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15": (
        "Safari",
        "macOS",
    ),
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " CriOS/137.0.7151.107 Mobile/15E148 Safari/604.1": ("Chrome", "iPad"),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) FxiOS/139.0 Mobile/15E148 Safari/605.1.15": ("Firefox", "iPhone"),
    "curl/8.5.0": (None, None),
    "": (None, None),
    "x" * LENGTH_MAX + "Firefox/1 Linux": (None, None),
}


@each_case("user_agent", SENT)
def test_browser_families_are_recognised(user_agent: str) -> None:
    assert tuple(find_family(each, user_agent) for each in (BROWSERS, SYSTEMS)) == SENT[user_agent]
