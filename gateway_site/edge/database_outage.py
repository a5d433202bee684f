"""Whether the SQL database is out of reach: of the process, told in the log once.

Who meets it tells so (`gateway_site.outages`), and who has nothing to ask of it may look here.
"""

from __future__ import annotations

import logging

from sessions_kms.outages import Outage

logger = logging.getLogger("gateway_site.outages")

database = Outage(logger, "database", "The database")
