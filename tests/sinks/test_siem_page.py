"""docs/siem.md shows what the code does."""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
from doc_examples import examples

import mcpgw.sinks
from mcpgw.app import outlets
from mcpgw.settings import load

PAGE = (Path(__file__).parents[2] / "docs" / "siem.md").read_text()
SCHEMA = json.loads((Path(mcpgw.sinks.__file__).parent / "ocsf.schema.json").read_text())


@pytest.mark.parametrize(("title", "text"), list(examples()), ids=lambda part: part if len(part) < 60 else "")
def test_an_example_on_the_page_is_what_leaves(title: str, text: str) -> None:
    assert f"### {title}\n\n```json\n{text}\n```" in PAGE, "run tests/sinks/doc_examples.py"
    jsonschema_rs.validator_for(SCHEMA).validate(json.loads(text))


def test_every_sink_on_the_page_can_be_configured_as_shown(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config.toml").write_text("\n".join(blocks))
    environ = {"SOC_WEBHOOK_KEY": "k" * 32, "SPLUNK_HEC_TOKEN": "t", "OTEL_TOKEN": "t", "ELASTIC_API_KEY": "a2V5"}
    found = {sink.kind for sink in outlets.sinks(load(tmp_path), environ)}
    assert found == {"file", "webhook", "splunk", "elastic", "syslog", "otlp"}
