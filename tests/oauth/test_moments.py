"""Times on pages: for machines, for people, and how far away they are."""

from datetime import UTC, datetime, timedelta, timezone

from django.template import Context, Template

from oauth.templatetags.oauth_pages import distance
from tests.gateway_site.support.page_requests import parse
from tests.support.cases import each_case

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@each_case(
    ("seconds", "expected"),
    [
        (0, "now"),
        (59, "now"),
        (-59, "now"),
        (60, "in 1 minute"),
        (-61, "1 minute ago"),
        (45 * 60, "in 45 minutes"),
        (3599, "in 1 hour"),
        (-5400, "2 hours ago"),
        (23 * 3600, "in 23 hours"),
        (86_399, "in 1 day"),
        (7 * 86_400 - 1, "in 7 days"),
        (-30 * 86_400, "30 days ago"),
    ],
)
def test_distance_is_in_its_largest_unit(seconds: int, expected: str) -> None:
    assert distance(NOW + timedelta(seconds=seconds), NOW) == expected


def test_time_of_any_zone_is_shown_in_utc() -> None:
    value = datetime(2030, 1, 2, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    template = Template("{% load oauth_pages %}{% moment value %}")
    page = parse(template.render(Context({"value": value})))
    (time,) = page.all("time")
    assert time.text == "1 Jan 2030, 20:00 UTC"
    assert datetime.fromisoformat(time.attributes["datetime"]) == value
    assert page.all("span")[0].text.endswith(("days", "ago"))
