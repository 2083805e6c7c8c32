"""The plan as a table for people: a line a row, and below it what does not fit into one."""

HEADINGS = (
    *(
        "topology",
        "devices",
        "batch",
        "/device",
        "fits",
        "peak GB",
        "GB/img",
        "GFLOP/img",
        "ms/img",
        "bound by",
    ),
    *("sent MB", "eval ms", "compile s", "h/epoch"),
)


def table(rows: list[dict]) -> str:
    """Aligned columns, one line a row."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    aligned = (
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in aligned)


def _cells(row: dict) -> tuple[str, ...]:
    if "fits" not in row:
        return (row["topology"], *[""] * 3, "failed", *[""] * (len(HEADINGS) - 5))
    sent = (
        sum(kind["sent_bytes"] for kind in row["collectives"].values()) / 1e6
        if "collectives" in row
        else None
    )
    return (
        row["topology"],
        str(row["devices"]),
        str(row["batch_size"]),
        f"{row['batch_per_chip']:g}",
        "yes" if row["fits"] else "no",
        _number(row.get("peak_hbm_gb"), ".3g"),
        _number(row.get("hbm_gb_per_image"), ".3g"),
        _number(row.get("flops_per_image"), ".3g", 1e-9),
        _number(row.get("ms_per_image"), ".3f"),
        row.get("binds") or "",
        _number(sent, ".1f"),
        _number(row.get("eval_ms_per_image"), ".3f"),
        _number(row.get("compile_s"), ".0f"),
        _hours(row.get("hours_per_epoch")),
    )


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "" if value is None else format(value * factor, form)


def _hours(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else _number(value, ".3f")


def details(row: dict) -> str:
    """What there is to say of one row beyond its line."""
    name, lines = row["topology"], []
    if "fits" not in row:
        return f"{name}: {row['error']}"
    room = row.get("over_gb")
    if room is not None:
        side = f"{-room:.3g} GB are left" if room <= 0 else f"{room:.3g} GB too much"
        lines.append(f"{side} of {row['hbm_available_gb']:.2f} GB a device ({row['device_kind']})")
    elif row.get("reason"):
        lines.append(f"does not fit: {row['reason']}")
    if row.get("eval_fits") is False:
        lines.append(f"the evaluation step does not fit: {row['eval_over_gb']:.2f} GB too much")
    if row.get("limits_ms"):
        limits = ", ".join(f"{limit} {ms:.3f}" for limit, ms in row["limits_ms"].items())
        lines.append(f"ms an image by limit: {limits}")
    for kind, sums in row.get("collectives", {}).items():
        lines.append(
            f"{kind}: {sums['count']} a step, {sums['bytes'] / 1e6:.2f} MB, of them {_dtypes(sums['dtypes'])}; "
            f"a device sends {sums['sent_bytes'] / 1e6:.2f} MB"
        )
    if row.get("kernels", {}).get("calls"):
        k = row["kernels"]
        moved = (k["read_bytes"] + k["written_bytes"]) / 1e9
        lines.append(
            f"Pallas kernels: {k['calls']} calls move {moved:.3f} GB a step, {k['declared_bytes'] / 1e9:.3f} declared"
        )
    if row.get("largest"):
        lines.append(
            f"largest arrays when memory is fullest{row.get('largest_of', '') and ', ' + row['largest_of']}:"
        )
        for array in row["largest"]:
            many = f"{array['count']} x " if array["count"] > 1 else ""
            lines.append(
                f"  {array['bytes'] / 1e9:7.3g} GB  {many}{array['array']}  {array['op_name'][-70:]}"
            )
    if row.get("largest_batch_per_chip") is not None:
        lines.append(
            f"largest batch that fits (powers of two): {row['largest_batch_per_chip']:g} a device"
        )
    lines += row.get("notes", [])
    if row.get("advice"):
        lines += ["what would help:", *(f"  {way}" for way in row["advice"])]
    return "\n".join([f"{name}:", *(f"  {line}" for line in lines)])


def _dtypes(bytes_by_dtype: dict[str, int]) -> str:
    return ", ".join(f"{dtype} {size / 1e6:.2f}" for dtype, size in bytes_by_dtype.items())
