.PHONY: start test bench chaos
start:
	script/start
test:
	script/test
bench: ; script/setup dev && .venv/bin/python -m bench
chaos: ; script/setup dev && .venv/bin/python -m tests.chaos --long
