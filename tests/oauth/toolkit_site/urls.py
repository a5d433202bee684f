"""The toolkit's own addresses under /o/, and what a test asks."""

from django.urls import include, path
from oauth2_provider import urls  # type: ignore[import-untyped]  # it has no types

from tests.oauth.toolkit_site.seen import seen

urlpatterns = [path("o/", include(urls)), path("seen/", seen)]
