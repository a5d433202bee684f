"""Metrics and spans of this package, by OpenTelemetry where that is installed."""

from sessions_kms.telemetry import Telemetry

telemetry = Telemetry("oauth")
