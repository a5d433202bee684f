"""The addresses of the gateway.

Staff sign in as everybody does; who signed in once becomes staff by the
`is_staff` and `is_superuser` flags of the user (`manage.py shell`).
"""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from gateway_site import views

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents
admin.site.site_header = admin.site.site_title = "Gateway administration"

urlpatterns = [
    path("", views.home, name="home"),
    path("accounts/", include("oauth.urls")),  # before allauth's, whose callbacks drop the tokens
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
