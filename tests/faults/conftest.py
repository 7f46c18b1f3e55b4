"""Which of these tests make sense with the compiled part."""

import geventws

collect_ignore = ["test_demand_21_at_any_line.py"] if geventws.accelerated else []
