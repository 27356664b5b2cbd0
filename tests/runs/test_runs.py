"""Run folders and the tables made from them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import rlqkit
from safetensors.torch import load_file

from rlqkit.config import Config, load_profile, to_dict, with_overrides
from rlqkit.data.loaders import load_benchmark, pose_clusters
from rlqkit.errors import RlqkitError
from rlqkit.evaluation.collapse import SINGLE, person_sums
from rlqkit.evaluation.metrics import Labels
from rlqkit.evaluation.protocol import HQ, MIXED, headline
from rlqkit.files import write_json
from rlqkit.method.attributes import nearest_clusters
from rlqkit.method.network import backbone_state
from rlqkit.report import tables
from rlqkit.runs.environment import environment
from rlqkit.runs.experiment import (
    evaluate,
    export_backbone,
    load_network,
    machine_of,
    train_and_evaluate,
)
from rlqkit.runs.folder import RunFolder, find_runs, metrics_of, profile_folder, together


@pytest.fixture(scope="module")
def config(tiny_wardrobe: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smoke profile with two rows and two seeds, all run."""
    changes = {
        "data.root": str(tiny_wardrobe), "data.external_root": str(tiny_wardrobe),
        "runtime.results": str(tmp_path_factory.mktemp("results")), "training.steps": 6,
        "reproduce.rows": ["cal", "base"], "reproduce.seeds": [1, 2],
    }  # fmt: skip
    config = load_profile("smoke", changes)
    for row in ("cal", "base"):
        for seed in (1, 2):
            train_and_evaluate(with_overrides(config, {"row": row, "seed": seed}), progress=False)
    # another configuration in the same folder, which no table may mix in
    train_and_evaluate(with_overrides(config, {"row": "base", "training.steps": 9}), progress=False)
    return config


def folder_of(config: Config, row: str, seed: int = 1) -> RunFolder:
    return RunFolder.of(with_overrides(config, {"row": row, "seed": seed}))


def test_a_run_folder_holds_what_it_says(config: Config) -> None:
    folder = folder_of(config, "base")
    assert folder.finished
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "config.json", "environment.json", "history.json", "metrics.json", "per_query.parquet",
        "features.safetensors", "weights-last.safetensors", "weights-best_validation.safetensors",
        "checkpoint.pt", "collapse.json",
    }  # fmt: skip
    theirs, ours = to_dict(folder.config()), to_dict(with_overrides(config, {"row": "base"}))
    assert theirs.pop("runtime") | {"results": ""} == ours.pop("runtime") | {"results": ""}
    assert theirs == ours
    history = folder.history()
    assert list(history["steps"]) == sorted(history["steps"]) and history["steps"].iloc[-1] == 6
    told = folder.environment()
    assert told["threads"] >= 1 and told["cores"] >= 1 and told["seconds"] > 0
    assert {"torch", "rlqkit", "timm", "numpy"} <= set(told["versions"])


def test_environment_names_commit_and_versions() -> None:
    told = environment()
    assert told["commit"] == "unknown" or len(told["commit"].removesuffix("+changes")) == 40
    assert told["versions"]["torch"].startswith("2.")
    assert str(Path.home()) not in json.dumps(told)


def test_per_query_names_every_query(config: Config) -> None:
    per_query = folder_of(config, "base").per_query()
    one = per_query.query("rule == 'last' and query == 'HQ' and protocol == 'CC'")
    assert len(one) == 16 and one["file"].is_unique
    assert set(one["identity"]) == {21, 22, 23, 24}


def test_files_are_read_with_a_one_line_error(config: Config, tmp_path: Path) -> None:
    broken = RunFolder(tmp_path)
    for read in (broken.config, broken.metrics, broken.history, broken.per_query, broken.features):
        with pytest.raises(RlqkitError, match="train the run again"):
            read()
    (tmp_path / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(RlqkitError, match="not valid JSON"):
        broken.metrics()
    for name, read in (
        ("features.safetensors", broken.features),
        ("per_query.parquet", broken.per_query),
    ):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(RlqkitError, match=name):
            read()
    old = to_dict(config) | {"learning": 1}
    (tmp_path / "config.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(RlqkitError, match="unknown configuration key learning"):
        broken.config()


def test_a_run_of_several_processes_is_evaluated_by_one(config: Config, tmp_path: Path) -> None:
    """In the arithmetic that it was made in, wherever it lies now."""
    source = folder_of(config, "base")
    folder = RunFolder(tmp_path / source.path.name)
    shutil.copytree(source.path, folder.path)
    values = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    values["training"] |= {"processes": 2, "precision": "auto"}
    write_json(folder.path / "config.json", values)
    write_json(folder.path / "environment.json", source.environment() | {"precision": "bf16-mixed"})
    assert machine_of(folder)._precision.precision == "bf16-mixed"
    write_json(folder.path / "environment.json", source.environment() | {"precision": "32-true"})
    again, kept = evaluate(folder).metrics, source.metrics()
    kept = kept[kept["rule"] == "last"].reset_index(drop=True)
    assert again["mAP"].tolist() == pytest.approx(kept["mAP"].tolist(), abs=1e-6)


def test_weights_of_another_architecture_are_refused(config: Config, tmp_path: Path) -> None:
    base, cal = folder_of(config, "base"), folder_of(config, "cal")
    mixed = RunFolder(tmp_path)
    for name in ("config.json", "metrics.json"):
        (tmp_path / name).write_bytes((base.path / name).read_bytes())
    (tmp_path / "weights-last.safetensors").write_bytes(
        (cal.path / "weights-last.safetensors").read_bytes()
    )
    with pytest.raises(RlqkitError) as error:
        load_network(mixed)
    assert "weights-last.safetensors does not fit" in str(error.value)
    assert "\n" not in str(error.value)
    assert not load_network(base).training


def test_features_survive_sixteen_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 64)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    folder = RunFolder(tmp_path)
    folder.save_features({("query", "mixed LQ"): values})
    (read,) = folder.features().values()
    assert list(folder.features()) == [("query", "mixed LQ")]
    np.testing.assert_allclose(read, values, atol=1e-3)
    assert ((read * values).sum(axis=1) > 0.9999).all()


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.save_json("metrics.json", [1])
    folder.save_per_query(pd.DataFrame({"a": [1]}))
    for write, name in (
        (lambda: folder.save_json("metrics.json", [2]), "metrics.json"),
        (lambda: folder.save_per_query(pd.DataFrame({"a": [2]})), "per_query.parquet"),
    ):
        before = (tmp_path / name).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(OSError, match="plug"):
                write()
        assert (tmp_path / name).read_bytes() == before
        write()
        assert (tmp_path / name).read_bytes() != before


def fail(*_: object) -> None:
    raise OSError("the plug was pulled")


def fail_for(file: Path) -> Callable[[Path, Path], None]:
    """``os.replace`` that the power leaves when it comes to one file."""
    plain = os.replace

    def replaced(source: Path, target: Path) -> None:
        if Path(target) == file:
            fail()
        plain(source, target)

    return replaced


def test_a_backbone_is_exported_whole_or_not_at_all(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "backbone.safetensors"
    export_backbone(folder_of(config, "base"), file)
    branch = backbone_state(load_network(folder_of(config, "base")))
    assert load_file(file).keys() == branch.keys()
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="plug"):
            export_backbone(folder_of(config, "base", 2), file)
    assert file.read_bytes() == before
    export_backbone(folder_of(config, "base", 2), file)
    assert file.read_bytes() != before and list(file.parent.iterdir()) == [file]


def test_a_run_without_branch_2_has_no_backbone_to_export(config: Config, tmp_path: Path) -> None:
    outcome = rlqkit("export-backbone", folder_of(config, "cal").path, tmp_path / "b.safetensors")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert "row cal" in outcome.err and "no branch 2" in outcome.err
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------- tables


def test_all_runs_are_found_and_told_apart(config: Config) -> None:
    folder = profile_folder(config)
    assert len(find_runs(folder)) == 5
    metrics = together([metrics_of(run) for run in find_runs(folder)], folder)
    assert metrics.groupby("run").size().nunique() == 1
    assert sorted(metrics.drop_duplicates("run")["steps"]) == [6, 6, 6, 6, 9]
    with pytest.raises(RlqkitError, match="no finished run"):
        together([], folder / "elsewhere")


def test_ablation_table_is_the_mean_over_seeds(config: Config) -> None:
    table = tables.ablation_table(tables.read_results(config))
    assert list(table.index) == ["CAL", "base"]
    hq = [
        folder_of(config, "base", seed).metrics().query(
            "rule == 'last' and query == 'HQ' and gallery == 'HQ' and protocol == 'CC'"
        )["rank1"].item()
        for seed in (1, 2)
    ]  # fmt: skip
    assert table.loc["base", "HQ"] == pytest.approx(100 * np.mean(hq))
    assert table.loc["base", ["seeds", "steps"]].tolist() == [2, 6]  # not the run of nine steps
    assert table.loc["CAL", "images"] == 6 * 16 and table.loc["base", "images"] == 6 * 32
    kinds = table[["pixelation", "motion blur", "out of focus"]].mean(axis=1)
    pd.testing.assert_series_equal(table["LQ → HQ"], kinds, check_names=False)


def test_a_test_that_a_row_was_not_measured_in_is_left_empty(config: Config) -> None:
    """As where runs of another kit, which had other tests, lie beside new ones."""
    results = tables.read_results(config)
    lacking = [
        table[(table["row"] != "cal") | (table["protocol"] != "SC")] for table in results.tables
    ]
    fewer = replace(results, tables=tuple(lacking))
    table, whole = (tables.ablation_table(side) for side in (fewer, results))
    assert np.isnan(table.loc["CAL", "SC, HQ"])
    assert table.loc["base", "SC, HQ"] == whole.loc["base", "SC, HQ"]
    pd.testing.assert_frame_equal(table.drop(columns="SC, HQ"), whole.drop(columns="SC, HQ"))
    summary = tables.summary_table(fewer)["SC, HQ"]
    assert summary["CAL"] == "–" and summary["base"] == f"{whole.loc['base', 'SC, HQ']:.1f}"
    assert "nan" not in tables.summary_as_markdown(fewer)


@pytest.mark.parametrize("seeds", [[1], [1, 2]])
def test_a_run_without_its_queries_is_named(
    config: Config, tmp_path: Path, seeds: list[int]
) -> None:
    shutil.copytree(profile_folder(config), tmp_path / "smoke")
    broken = with_overrides(config, {"runtime.results": str(tmp_path)})
    for seed in seeds:
        (folder_of(broken, "base", seed).path / "per_query.parquet").unlink()
    name = folder_of(broken, "base").path.name
    with pytest.raises(
        RlqkitError, match=rf"{name} has no per_query\.parquet.*train the run again"
    ):
        tables.write_tables(broken)


def test_ablation_table_by_measure_and_rule(config: Config) -> None:
    rank1, best = (
        tables.ablation_table(tables.read_results(config)),
        tables.ablation_table(tables.read_results(config), "mAP", "best_validation"),
    )
    assert list(best.columns) == list(rank1.columns) and not best.equals(rank1)


def test_seed_table_shows_every_seed(config: Config) -> None:
    table = tables.seed_table(tables.read_results(config))
    assert sorted(table.index) == [("base", 1), ("base", 2), ("cal", 1), ("cal", 2)]
    assert {"HQ → HQ", "LQ → HQ", "mixed LQ → mixed LQ"} <= set(table.columns)
    mean = table.groupby("row")["HQ → HQ"].mean()
    assert mean["base"] == pytest.approx(
        tables.ablation_table(tables.read_results(config)).loc["base", "HQ"]
    )


def test_differences_are_paired_by_query_and_seed(config: Config) -> None:
    table = tables.difference_table(tables.read_results(config))
    assert set(table["reference"]) == {"base"} and set(table["row"]) == {"cal"}
    line = table.set_index("condition").loc["LQ → HQ"]
    ablation = tables.ablation_table(tables.read_results(config))["LQ → HQ"]
    assert line["estimate"] == pytest.approx(ablation["CAL"] - ablation["base"])
    assert line["low"] <= line["estimate"] <= line["high"]
    seeds = tables.seed_table(tables.read_results(config))["HQ → HQ"].unstack("seed")
    first, second = seeds.loc["cal"] - seeds.loc["base"]
    line = table.set_index("condition").loc["HQ"]
    half = 12.7062 * abs(first - second) / 2  # Student's t of one degree of freedom
    mean = (first + second) / 2
    assert line["seeds"] == 2
    assert [line["seed_low"], line["seed_high"]] == pytest.approx(
        [mean - half, mean + half], abs=1e-3
    )


def test_no_differences_without_a_reference(config: Config) -> None:
    alone = with_overrides(config, {"reproduce.rows": ["cal"]})
    assert tables.difference_table(tables.read_results(alone)).empty
    one_seed = with_overrides(config, {"reproduce.seeds": [2]})
    table = tables.difference_table(tables.read_results(one_seed))
    assert (table["seeds"] == 1).all() and table["seed_low"].isna().all()


def test_written_tables_say_the_same(config: Config) -> None:
    files = tables.write_tables(config)
    assert {file.suffix for file in files} == {".csv", ".md"}
    assert all(file.parent == profile_folder(config) / "tables" for file in files)
    by_name = {file.name: file for file in files}
    table = pd.read_csv(by_name["ablation_rank1_last.csv"], index_col="row")
    pd.testing.assert_frame_equal(
        table,
        tables.ablation_table(tables.read_results(config)).round(2),
        check_dtype=False,
        check_index_type=False,
    )
    lines = by_name["ablation_rank1_last.md"].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| row | HQ | LQ → HQ") and len(lines) == 2 + len(table)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert f"| base | {table.loc['base', 'HQ']:.1f} |" in lines[3]


def test_tables_are_written_whole_or_not_at_all(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(profile_folder(config) / "runs", tmp_path / "smoke" / "runs")
    mine = with_overrides(config, {"runtime.results": str(tmp_path)})
    for file in tables.write_tables(mine):
        before = file.read_bytes()
        file.write_bytes(b"mine")
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail_for(file))
            with pytest.raises(OSError, match="plug"):
                tables.write_tables(mine)
        assert file.read_bytes() == b"mine"
        tables.write_tables(mine)
        assert file.read_bytes() == before
    assert {file.suffix for file in (tmp_path / "smoke" / "tables").iterdir()} == {".csv", ".md"}


def test_collapse_is_told_over_the_seeds_of_a_row(config: Config) -> None:
    """What a run keeps says what its features say; seeds are added up, people drawn."""
    folders = [folder_of(config, "base", seed) for seed in (1, 2)]
    split = headline(load_benchmark(config)).query
    query = load_benchmark(config)[split]
    values = []
    for folder in folders:
        features = folder.features()
        whole = person_sums(
            features[split, HQ], features[split, MIXED], Labels(*query.metric_arrays())
        )
        kept = folder.collapse()
        assert set(kept.parts) == set(SINGLE)
        for measure in SINGLE:
            assert kept.value(measure) == pytest.approx(whole.value(measure), abs=1e-6, nan_ok=True)
        values.append(kept.value("identity_purity"))
    table = tables.collapse_table(tables.read_results(config))
    line = table[(table["row"] == "base") & (table["measure"] == "identity_purity")].iloc[0]
    assert line["estimate"] == pytest.approx(sum(values) / 2)
    assert (line["least"], line["most"], line["seeds"]) == (min(values), max(values), 2)
    assert line["low"] <= line["estimate"] <= line["high"]
    page = tables.collapse_as_markdown(table).splitlines()
    assert page[0].startswith("| row | P(LQ \\| stranger) | identity purity |")
    (base,) = (shown for shown in page if shown.startswith("| base |"))
    assert f"| {100 * line['estimate']:.0f} [" in base
    nothing = table.assign(estimate=float("nan"), low=float("nan"), high=float("nan"))
    assert "| base | – | – | – | – | 2 |" in tables.collapse_as_markdown(nothing)


def test_runs_without_measures_of_collapse_are_left_out(config: Config, tmp_path: Path) -> None:
    shutil.copytree(profile_folder(config), tmp_path / "smoke")
    older = with_overrides(config, {"runtime.results": str(tmp_path)})
    for file in tmp_path.rglob("collapse.json"):
        file.unlink()
    assert tables.collapse_table(tables.read_results(older)).empty
    run = folder_of(older, "base")
    write_json(run.path / "collapse.json", {"identity": [1, 2]})
    with pytest.raises(RlqkitError, match=r"collapse\.json holds no measures"):
        tables.collapse_table(tables.read_results(older))


def test_each_file_of_a_run_is_read_once_for_all_tables(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    as_json, as_table = RunFolder._json, RunFolder.per_query

    def noted_json(self: RunFolder, name: str) -> object:
        read.append(f"{self.path.name}/{name}")
        return as_json(self, name)

    def noted_table(self: RunFolder) -> pd.DataFrame:
        read.append(f"{self.path.name}/per_query")
        return as_table(self)

    monkeypatch.setattr(RunFolder, "_json", noted_json)
    monkeypatch.setattr(RunFolder, "per_query", noted_table)
    tables.write_tables(config)
    assert (
        len(read) == len(set(read)) == 4 * 6
    )  # config, history, metrics, environment, queries, collapse


def test_a_run_of_another_version_is_left_out_with_a_line(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(profile_folder(config), tmp_path / "smoke")
    older = with_overrides(config, {"runtime.results": str(tmp_path)})
    run = folder_of(older, "cal", 1)
    values = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    write_json(run.path / "config.json", values | {"learning": 1})
    tables.write_tables(older)
    said = capsys.readouterr().out
    assert said.startswith("left out: ") and run.path.name in said and said.count("\n") == 1
    written = pd.read_csv(tmp_path / "smoke" / "tables" / "ablation_rank1_last.csv", index_col=0)
    assert written["seeds"].to_dict() == {"CAL": 1, "base": 2}


def test_pose_clusters_stay_with_the_run(config: Config, tmp_path: Path) -> None:
    """As they were trained on, so that other images can be given them; rows without have none."""
    changes = {"row": "cap", "training.steps": 2, "runtime.results": str(tmp_path)}
    folder = train_and_evaluate(with_overrides(config, changes), progress=False)
    kept = folder.poses()
    train = load_benchmark(config)["train"]
    fitted = pose_clusters(train, folder.config())
    assert kept.kind == fitted.kind and kept.inertia == fitted.inertia
    for name in ("labels", "centres", "skeletons", "counts"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(fitted, name))
    query = load_benchmark(config)["query"]
    assert query.joints is not None
    labels = nearest_clusters(kept, query.joints, query.sizes)
    assert set(labels) <= set(range(1, folder.config().cap.clusters + 1))
    with pytest.raises(RlqkitError, match="poses.safetensors"):
        folder_of(config, "base").poses()
