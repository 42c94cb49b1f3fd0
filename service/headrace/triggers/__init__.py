"""Everything that makes events and runs: triggers and what they listen to. Knows nothing of how runs are driven."""
