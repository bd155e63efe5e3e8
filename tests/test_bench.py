"""The bench on tiny networks: its baselines compute what ours do, and it says what it measured."""

import argparse
import importlib.util
import json
import sys
from dataclasses import fields

import bench
import bench_folder
import bench_measure
import bench_options
import bench_rows
import bench_systems
import bench_windows
import job_trials
import pytest
import torch
from bench_attention import by_shifts
from bench_rows import BASELINE, WHOLE, Row, Share
from environment import SCRIPTS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found() -> dict:
    """Of one quick run of everything."""
    torch.manual_seed(0)
    asked = bench_options.declare(argparse.ArgumentParser).parse_args(
        ["--quick", "--device", "cpu", "--repeats", "1", "--steps", "2"]
    )
    return json.loads(json.dumps(bench.report(asked), allow_nan=False))


@pytest.fixture(scope="module")
def rows(found) -> list[Row]:
    return [Row(**row) for row in found["rows"]]


def of_form(rows: list[Row], form: str) -> list[Row]:
    return [row for row in rows if row.form.startswith(form) and row.part != WHOLE]


def row(part: str, form: str, seconds: float, psnr: float | None = None, planned: int = 1) -> Row:
    numbers = {"peak_bytes": int(seconds), "flops_per_evaluation": 6.0, "flops_per_second": 1.0}
    return Row("s", part, "", 1, form, 1, planned, seconds / planned, seconds, **numbers,
               of_ceiling=0.5, times_baseline=1.0, psnr=psnr)  # fmt: skip


def test_the_json_says_where_and_what_was_measured(found, rows):
    assert {"torch", "device", "name", "threads"} <= set(found["machine"])
    assert {"float32", "bfloat16"} <= set(found["ceilings"])
    assert {tuple(row) for row in found["rows"]} == {tuple(f.name for f in fields(Row))}
    for candidate in found["attention"]:
        assert (candidate["seconds"] is None) == bool(candidate["failure"])
    for row in rows:
        assert min(row.seconds_per_evaluation, row.peak_bytes, row.flops_per_second) > 0, row
        assert row.seconds_per_image == pytest.approx(row.seconds_per_evaluation * row.planned)
        assert (row.psnr is None) == row.is_baseline


def test_every_system_is_measured_at_one_and_at_a_full_batch(rows):
    trials = {(row.system, row.part) for row in rows}
    assert len({system for system, _ in trials}) == 6 and ("PMRF face", WHOLE) in trials
    for trial in trials:
        own = [row for row in rows if (row.system, row.part) == trial]
        for form in ("float32", BASELINE):
            batches = [row.batch for row in own if row.form.startswith(form)]
            assert len(batches) == 2 and batches[0] == 1 < batches[1], trial


def test_baselines_compute_what_ours_do(rows):
    assert all(row.psnr > 100 for row in of_form(rows, "float32"))
    assert all(row.psnr > 40 for row in of_form(rows, "bfloat16"))
    assert all(row.times_baseline == 1 for row in of_form(rows, BASELINE))


def test_baselines_say_what_they_were_given(found, rows):
    windowed = [row.form for row in of_form(rows, BASELINE) if row.part == "flow"]
    chosen = {candidate["name"] for candidate in found["attention"] if candidate["is_chosen"]}
    assert {form.split("(")[1].split(";")[0] for form in windowed} <= chosen | {"plain)"}


def test_the_table_has_a_cell_for_every_column(rows):
    lines = bench_rows.table(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert {line.count("|") for line in lines} == {len(bench_rows.COLUMNS) + 1}


def test_parts_add_up_to_a_picture():
    parts = [
        row("mean", "float32", 2, 80), row("mean", f"{BASELINE} (a)", 4),
        row("flow", "float32", 10, 90, 5), row("flow", "bfloat16", 4, 60, 5),
        row("flow", f"{BASELINE} (b)", 20, None, 5),
    ]  # fmt: skip
    shares = [Share("mean", lambda form: "float32"), Share("flow", str)]
    wholes = {r.form: r for r in bench_rows.summed(shares, parts, ["float32", "bfloat16"])}
    assert [wholes[form].seconds_per_image for form in ("float32", "bfloat16", BASELINE)] == [
        12, 6, 24
    ]  # fmt: skip
    assert wholes["bfloat16"].times_baseline == 4 and wholes["bfloat16"].psnr == 60
    assert wholes["float32"].flops_per_evaluation == 36 and wholes["float32"].peak_bytes == 10
    same = [Share("mean", lambda form: "float32")]
    assert len(bench_rows.summed(same, parts, ["float32", "bfloat16"])) == 2


def test_only_arithmetic_that_is_needed_counts():
    q = torch.randn(1, 7, 8, 2, 16)
    heads = q.flatten(1, 2).transpose(1, 2)
    global_attention = 4 * 2 * 56**2 * 16
    call = torch.nn.functional.scaled_dot_product_attention
    assert bench_measure.count_flops(lambda attention: call(heads, heads, heads)) == (
        global_attention
    )
    assert bench_measure.count_flops(lambda attention: attention(q, q, q, 3)) == 4 * q.numel() * 9
    assert bench_measure.count_flops(lambda attention: heads @ heads.mT) == global_attention / 2


def test_psnr_is_a_number_even_of_equal_results():
    x = torch.rand(1, 3, 8, 8)
    assert bench_measure.psnr(x, x) == bench_measure.EQUAL
    assert bench_measure.psnr(x + 0.01, x) == pytest.approx(40, abs=1e-3)
    assert bench_measure.psnr(2 * x + 0.02, 2 * x, None) == pytest.approx(
        40 + 20 * torch.log10(x.max() - x.min()).item(), abs=1e-3
    )


def test_native_networks_are_as_large_as_published():
    sizes = bench_systems.NATIVE
    with torch.device("meta"):
        network = bench_systems.HDiT(sizes.hdit, sizes.mapping)
    assert sum(p.numel() for p in network.parameters()) == 160_460_210


def test_the_fastest_that_runs_and_agrees_is_chosen(monkeypatch):
    def absent(*_) -> torch.Tensor:
        raise ModuleNotFoundError("No module named 'natten'")

    def wrong(q, k, v, size) -> torch.Tensor:
        return v

    forms = {"natten": absent, "wrong": wrong, "49 shifts": by_shifts}
    monkeypatch.setattr(bench_windows, "candidates", lambda device, compiles: forms)
    grid = bench_windows.Grid(9, 2, 8, 3)
    attention, seen = bench_windows.fastest(grid, 1, CPU, 1, compiles=False)
    assert attention is by_shifts and [c.is_chosen for c in seen] == [False, False, True]
    assert "No module" in str(seen[0]) and "differs" in str(seen[1])


def test_flex_attention_meets_the_same_neighbours():
    from torch.nn.attention.flex_attention import flex_attention

    grid = bench_windows.Grid(10, 2, 16, 7)
    q, k, v = grid.draw(2, CPU)
    tokens = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]
    out = flex_attention(*tokens, block_mask=bench_windows.blocks(10, 10, 7, CPU), scale=1.0)
    out = out.transpose(1, 2).unflatten(1, (10, 10))
    torch.testing.assert_close(out, by_shifts(q, k, v, 7), atol=1e-5, rtol=0)


def test_a_full_batch_that_does_not_fit_is_halved(monkeypatch):
    runner = bench.Runner(CPU, 1, False, 32)
    tried = []

    def measured(trial, ours, flops, batch) -> list[int]:
        tried.append(batch)
        if batch > 3:
            raise torch.cuda.OutOfMemoryError
        return [batch]

    monkeypatch.setattr(runner, "_measured", measured)
    assert runner._fitting(None, {}, 1.0, 12) == [3] and tried == [12, 6, 3]


def test_folders_go_through_the_real_nodes(host):
    made = bench_systems.Bench(CPU, bench_systems.QUICK, 2)
    photos = job_trials.Jobs(host)
    for pipeline in bench_folder.pipelines(made):
        weights = pipeline.save(host.folder / bench_folder.MODELS)
        graph = bench_folder.graph(pipeline, "float32", made.steps, 2)
        name = f"bench {pipeline.name}"
        assert bench_folder.photo_rate(photos, graph, name, 4, 2, made.sizes.side) > 0
        restored = host.folder / "output" / name
        assert len(list(restored.rglob("*_restored.jpg"))) == 6
        bare = pipeline.bare("float32")
        assert bare(torch.rand(1, 3, made.sizes.side, made.sizes.side)).isfinite().all()
        weights.unlink()


def test_json_may_stand_alone_on_standard_output(monkeypatch, capsys):
    def report(asked) -> dict:
        print("the table")
        return {"rows": []}

    monkeypatch.setattr(bench, "report", report)
    bench.main(["--json", "-"])
    out, err = capsys.readouterr()
    assert json.loads(out) == {"rows": []} and err == "the table\n"


def test_the_front_door_knows_the_bench(monkeypatch):
    assert tuple(bench_systems.SYSTEMS) == bench_options.SYSTEMS
    spec = importlib.util.spec_from_file_location("front_door", SCRIPTS.parent / "run.py")
    door = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds to it
    spec.loader.exec_module(door)
    asked = door.parser().parse_args(["bench", "--systems", "elir", "--quick"])
    assert (asked.script, asked.systems, asked.device) == ("bench.py", ["elir"], None)
