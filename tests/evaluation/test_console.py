"""The table on the terminal has every label, the totals and what there is to remark."""

from support.score_cases import plain_case

from hpa_jax.evaluation.console import format_table
from hpa_jax.labels import LABELS
from hpa_jax.metrics.summary import evaluate


def test_the_table_has_a_row_a_label_and_the_totals():
    report = evaluate(*plain_case())
    lines = format_table(report).splitlines()
    assert all(name in line for name, line in zip(LABELS, lines[1:29], strict=True))
    assert (
        f"{report['macro_f1']:.4f}" in lines[30]
        and f"{report['micro_f1_crossfit']:.4f}" in lines[31]
    )
    assert f"{report['samples_f1']:.4f}" in lines[32] and f"{report['accuracy']:.4f}" in lines[34]
    low, high = (f"{end:.3f}"[1:] for end in report["intervals"]["macro_f1"])
    assert f"{report['macro_f1']:.4f} [{low}, {high}]" in lines[30]
    assert len(lines[0].rstrip()) == max(len(line) for line in lines[1:29])
    assert "note" not in lines[-1]
    assert format_table(evaluate(*plain_case(3, 2))).splitlines()[-1].startswith("note: ")
