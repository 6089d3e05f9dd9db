"""Results into tables, JSON, figures and pages; the only room with widths and colours."""
