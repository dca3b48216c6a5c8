"""Reports of runs and results that were damaged or edited: a whole report, or one sentence."""

import json
import shutil

import pytest
import yaml
from hypothesis import strategies as st

from helpers.damaged import a_changed_tree, damaged_bytes
from helpers.fuzzing import outcome, search
from helpers.report_samples import a_line, a_result, a_run
from pretrain.runtime.errors import UserError
from transfer.report.write import write_report

pytestmark = pytest.mark.slow


def test_a_report_of_damaged_runs_and_results_is_whole_or_one_sentence(tmp_path):
    runs = tmp_path / "runs"
    for seed in range(2):
        a_run(runs / f"run{seed}", [a_line(step) for step in (10, 20, 30)], seed=seed)
        a_result(runs / f"run{seed}" / "knn.json", 40.0 + seed, "pretrained", seed)
    a_result(runs / "random.json", 20.0, "random")
    spoilt = runs / "run0"
    files = {name: (spoilt / name).read_bytes() for name in ("metrics.jsonl", "config.yaml", "knn.json")}

    def check(name, content):
        for other, data in files.items():
            (spoilt / other).write_bytes(content if other == name else data)
        done = outcome(lambda: write_report([runs], tmp_path / "report"), runs, bound=False)
        if not isinstance(done, UserError):
            page, markdown = done
            assert "</html>" in page.read_text(encoding="utf-8") and markdown.read_text(encoding="utf-8")
            json.loads((tmp_path / "report" / "report.json").read_text())
        shutil.rmtree(tmp_path / "report", ignore_errors=True)

    lines = a_changed_tree([json.loads(a_line(step)) for step in (10, 20, 30)])
    trees = {
        "metrics.jsonl": lines.map(lambda tree: "\n".join(map(json.dumps, tree)).encode()),
        "config.yaml": a_changed_tree(yaml.safe_load(files["config.yaml"])).map(yaml.safe_dump).map(str.encode),
        "knn.json": a_changed_tree(json.loads(files["knn.json"])).map(lambda tree: json.dumps(tree).encode()),
    }
    damage = [
        st.one_of(tree, tree, damaged_bytes(files[name])).map(lambda content, name=name: (name, content))
        for name, tree in trees.items()
    ]
    search(lambda damaged: check(*damaged), 10, damaged=st.one_of(damage))
