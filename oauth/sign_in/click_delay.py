"""A form that takes effect only one second after its page was shown.

Another site can open one of our pages under the second click of a double click, when the person
means to click something else ("double-clickjacking"); no frame is involved, so `frame-ancestors`
does not help. A form with `{% click_delay %}` carries the time at which it was shown, signed for
this user. A POST that comes too soon, or without that time, changes nothing: the view shows the
page again. `click_delay.js` does more, for browsers that run scripts: the button waits until the
page has been visible and focused for a second.
"""

from django.core.signing import BadSignature, Signer
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from sessions_kms.services import services

DELAY = 1.0  # seconds
FIELD = "shown_at"
TOO_SOON = _(
    "That came less than a second after the page was shown, so nothing was done. Please check what "
    "it says, then confirm again."
)


def fields(request: HttpRequest) -> SafeString:
    """Return the HTML to put into a form: the current time, signed, and the script."""
    return format_html(
        '<input type="hidden" name="{}" value="{}"><script src="{}" defer {}></script>',
        FIELD,
        _signer(request).sign(f"{services().clock():.6f}"),
        static("oauth/click_delay.js"),
        format_html_join(" ", 'data-{}="{}"', _script_texts().items()),
    )


def _script_texts() -> dict[str, str]:
    """Return what the script says, by the names of its attributes."""
    return {
        "wait": gettext("Please read this page. You can confirm in a second."),
        "unread": gettext("Please read the whole page before you confirm."),
        "ready": gettext("You can confirm now."),
    }


def is_too_soon(request: HttpRequest) -> bool:
    """Return True if a POST comes within a second of its form, or without a valid time.

    The engine's clock is used, which every process corrects by DynamoDB's, so a machine with a
    wrong clock does not reject anyone.
    """
    try:
        shown_at = float(_signer(request).unsign(request.POST.get(FIELD, "")))
    except (BadSignature, ValueError):
        return True
    return services().clock() - shown_at < DELAY


def _signer(request: HttpRequest) -> Signer:
    return Signer(salt=f"oauth.click_delay:{request.user.pk}")
