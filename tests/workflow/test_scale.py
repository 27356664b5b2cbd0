"""docs/scale.md holds what benchmarks/scale.py computes, digit by digit."""

from scripts import benchmark_script


def test_page_is_what_the_script_prints() -> None:
    scale = benchmark_script("scale")
    written = scale.PAGE.read_text(encoding="utf-8")
    shown = written.partition(scale.BEGIN)[2].partition(scale.END)[0]
    assert shown == scale.page(), "run python benchmarks/scale.py --write"
