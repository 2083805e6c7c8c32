"""The plan as a table: one line per row, and below it what does not fit into a line."""

COLUMNS = (
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
    "sent MB",
    "eval ms",
    "compile s",
    "h/epoch",
)


def table(rows: list[dict]) -> str:
    """Aligned columns, one line per row."""
    lines = [COLUMNS]
    for row in rows:
        lines.append(_cells(row))
    widths = []
    for column in range(len(COLUMNS)):
        widths.append(max(len(line[column]) for line in lines))
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    first = line[0].ljust(widths[0])
    others = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([first, *others]).rstrip()


def _cells(row: dict) -> tuple[str, ...]:
    if "fits" not in row:
        cells = dict.fromkeys(COLUMNS, "")
        cells["topology"] = row["topology"]
        cells["fits"] = "failed"
        return tuple(cells.values())
    sent_mb = None
    if "collectives" in row:
        sent_mb = sum(kind["sent_bytes"] for kind in row["collectives"].values()) / 1e6
    gflop = row.get("flops_per_image")
    if gflop is not None:
        gflop /= 1e9
    return (
        row["topology"],
        str(row["devices"]),
        str(row["batch_size"]),
        f"{row['batch_per_chip']:g}",
        "yes" if row["fits"] else "no",
        _number(row.get("peak_hbm_gb"), ".3g"),
        _number(row.get("hbm_gb_per_image"), ".3g"),
        _number(gflop, ".3g"),
        _number(row.get("ms_per_image"), ".3f"),
        row.get("binds") or "",
        _number(sent_mb, ".1f"),
        _number(row.get("eval_ms_per_image"), ".3f"),
        _number(row.get("compile_s"), ".0f"),
        _hours(row.get("hours_per_epoch")),
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _hours(value: float | None) -> str:
    if value is not None and value < 0.001:
        return "<0.001"
    return _number(value, ".3f")


def details(row: dict) -> str:
    """Several lines about one row, beyond its line in the table."""
    name = row["topology"]
    if "fits" not in row:
        return f"{name}: {row['error']}"
    lines = []
    lines += _memory_lines(row)
    lines += _time_lines(row)
    lines += _traffic_lines(row)
    lines += _largest_lines(row)
    if row.get("largest_batch_per_chip") is not None:
        largest = row["largest_batch_per_chip"]
        lines.append(f"largest batch that fits (powers of two): {largest:g} a device")
    lines += row.get("notes", [])
    if row.get("advice"):
        lines.append("what would help:")
        for way in row["advice"]:
            lines.append(f"  {way}")
    return "\n  ".join([f"{name}:", *lines])


def _memory_lines(row: dict) -> list[str]:
    lines = []
    over_gb = row.get("over_gb")
    if over_gb is not None:
        verdict = f"{over_gb:.3g} GB too much for the"
        if over_gb <= 0:
            verdict = f"{-over_gb:.3g} GB are left of"
        device = f"{row['hbm_available_gb']:.2f} GB a device ({row['device_kind']})"
        lines.append(f"{verdict} {device}")
    elif row.get("reason"):
        lines.append(f"does not fit: {row['reason']}")
    if row.get("eval_fits") is False:
        over_gb = row["eval_over_gb"]
        lines.append(f"the evaluation step does not fit: {over_gb:.2f} GB too much")
    return lines


def _time_lines(row: dict) -> list[str]:
    if not row.get("limits_ms"):
        return []
    limits = ", ".join(f"{limit} {ms:.3f}" for limit, ms in row["limits_ms"].items())
    return [f"ms per image by limit: {limits}"]


def _traffic_lines(row: dict) -> list[str]:
    lines = []
    for kind, sums in row.get("collectives", {}).items():
        delivered = f"{sums['count']} a step, {sums['bytes'] / 1e6:.2f} MB"
        by_dtype = _dtypes(sums["dtypes"])
        sent = f"a device sends {sums['sent_bytes'] / 1e6:.2f} MB"
        lines.append(f"{kind}: {delivered}, by dtype {by_dtype}; {sent}")
    kernels = row.get("kernels", {})
    if kernels.get("calls"):
        moved_gb = (kernels["read_bytes"] + kernels["written_bytes"]) / 1e9
        declared_gb = kernels["declared_bytes"] / 1e9
        lines.append(
            f"Pallas kernels: {kernels['calls']} calls move {moved_gb:.3f} GB a step, "
            f"{declared_gb:.3f} declared"
        )
    return lines


def _dtypes(bytes_by_dtype: dict[str, int]) -> str:
    return ", ".join(f"{dtype} {size / 1e6:.2f}" for dtype, size in bytes_by_dtype.items())


def _largest_lines(row: dict) -> list[str]:
    if not row.get("largest"):
        return []
    title = "largest arrays when memory is fullest"
    if row.get("largest_of"):
        title += f", {row['largest_of']}"
    lines = [f"{title}:"]
    for array in row["largest"]:
        count = f"{array['count']} x " if array["count"] > 1 else ""
        size = f"{array['bytes'] / 1e9:7.3g} GB"
        lines.append(f"  {size}  {count}{array['array']}  {array['op_name'][-70:]}")
    return lines
