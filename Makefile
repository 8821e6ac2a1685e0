# Short names for what people do here; each also runs without make.
.PHONY: licences test check format docs wheel

licences: ## audit the licences of this project's own environment
	./yamlflow-here run workflows/licence-audit.yaml

test: ## all tests
	./test

check: ## all that must hold: lint, format, types, docs, tests
	.ci/run

format: ## put the source into shape
	"$$(.ci/environment dev)/bin/ruff" check --fix .
	"$$(.ci/environment dev)/bin/ruff" format .

docs: ## write the generated parts of docs/ anew
	"$$(.ci/environment dev)/bin/python" docs/generate.py

wheel: ## build the wheel and the source distribution into dist/
	"$$(.ci/environment dev)/bin/python" -m build
