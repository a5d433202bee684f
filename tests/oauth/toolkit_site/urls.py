"""The toolkit's URLs under /o/, and views for tests."""

from django.urls import include, path
from oauth2_provider import urls  # type: ignore[import-untyped]  # it has no types

from tests.oauth.toolkit_site.seen import seen

urlpatterns = [path("o/", include(urls)), path("seen/", seen)]
