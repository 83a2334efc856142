"""Templates and workflows are what the forge takes: it says nothing about one that is wrong, and shows none."""

from pathlib import Path

import pytest

from .environments import ROOT, Environment

SCHEMAS = {
    "github-issue-forms": sorted(
        path for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml") if path.name != "config.yml"
    ),
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "github-workflows": sorted(ROOT.glob(".github/workflows/*.yml")),
}


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("checker"))
    environment.install("check-jsonschema")
    return environment


@pytest.mark.parametrize("schema", SCHEMAS)
def test_forms_and_workflows_are_valid(schema: str, checker: Environment) -> None:
    assert SCHEMAS[schema]
    said = checker.output("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *SCHEMAS[schema])
    assert said == "ok -- validation done\n"


def test_a_form_that_is_none_would_be_noticed(checker: Environment, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("name: a form\nbody: []\n")
    assert checker.run("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", wrong).returncode == 1
