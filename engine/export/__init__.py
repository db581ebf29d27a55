"""A recording for other programs: tables (CSV, JSON lines, Parquet), a trace (Perfetto), OpenMetrics."""
