"""Addresses that authorization servers fetch, to include at the root with `CONNECT_DOCUMENTS`."""

from django.urls import path

from oauth.mcp import client_documents

urlpatterns = [
    path(
        "oauth/clients/<slug:name>.json",
        client_documents.client_document,
        name=client_documents.DOCUMENT_URL,
    ),
    path(
        "oauth/clients/<slug:name>/jwks.json",
        client_documents.client_keys,
        name=client_documents.KEYS_URL,
    ),
]
