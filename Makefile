.PHONY: start test bench chaos
start:
	script/start
test:
	script/test
bench: ; script/setup dev && .venv/bin/python -m bench
chaos: ; HEADRACE_CHAOS_INSTANTS=100 HEADRACE_CHAOS_SECONDS=30 HEADRACE_CHAOS_EVENTS=10000 script/test tests/chaos -q
