"""Sessions in Django's admin. Django imports this to register them; projects may subclass."""

from sessions_kms.admin.session_admin import SessionAdmin

__all__ = ["SessionAdmin"]
